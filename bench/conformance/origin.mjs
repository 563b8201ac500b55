// The suite's origin, with the suite's own handlers, on loopback alone (its own program listens everywhere).
// node origin.mjs SUITE_FOLDER PORT
import http from 'node:http'
import path from 'node:path'

const [folder, port] = process.argv.slice(2)
const handler = async name => (await import(path.join(folder, 'server', `handle-${name}.mjs`))).default
const handlers = { config: await handler('config'), test: await handler('test'), state: await handler('state') }

http.createServer((request, response) => {
  const [, kind, ...rest] = new URL(request.url, 'http://localhost/').pathname.split('/')
  if (kind in handlers) handlers[kind](rest, request, response)
  else response.end('ready')
}).listen(Number(port), '127.0.0.1')
