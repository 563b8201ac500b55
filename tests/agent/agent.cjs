// An ordinary agent: it knows of no proxy. Prints what each of its calls came to, as JSON.
'use strict';
const [http, https] = [require('node:http'), require('node:https')];

const get = (module, options) => new Promise((resolve, reject) => {
  module.get(options, (response) => {
    let text = '';
    response.on('data', (chunk) => { text += chunk; }).on('end', () => resolve(JSON.parse(text).target));
  }).on('error', reject);
});
const fetched = async (url, init) => {
  const answer = await (await fetch(url, init)).json();
  return init ? answer.length : answer.target;
};

(async () => {
  const own = new https.Agent({ keepAlive: true }); // as stripe and others have
  const local = http.createServer((_, response) => response.end('{"target": "local"}')).listen(0, '127.0.0.1');
  await new Promise((resolve) => local.on('listening', resolve));
  const here = `http://127.0.0.1:${local.address().port}/`;
  const calls = {
    fetch: () => fetched('https://api.vendor.test/fetch'),
    fetchInTheClear: () => fetched('http://clear.vendor.test/fetch'),
    upload: () => fetched('https://api.vendor.test/upload', { method: 'POST', body: 'x'.repeat(300000) }),
    globalAgent: () => get(https, 'https://api.vendor.test/global'),
    ownAgent: () => get(https, { host: 'api.vendor.test', path: '/own', agent: own }),
    ownAgentAgain: () => get(https, { host: 'api.vendor.test', path: '/again', agent: own }),
    inTheClear: () => get(http, 'http://clear.vendor.test/http'),
    direct: () => get(http, here),
    fetchDirect: () => fetched(here),
    refused: () => fetched('https://denied.vendor.test/'),
    refusedAgent: () => get(https, 'https://denied.vendor.test/'),
  };
  const results = {};
  for (const [name, call] of Object.entries(calls)) {
    results[name] = await call().catch((error) => `error: ${error.cause?.message ?? error.message}`);
  }
  console.log(JSON.stringify(results));
  local.close();
  local.closeAllConnections();
})();
