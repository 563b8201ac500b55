// Backstay's shim for Node: loaded by NODE_OPTIONS=--require before the program (`backstay env --shims DIR`).
//
// Makes fetch, and every http and https Agent without a connection of its own (stripe's, openai's), open what
// http_proxy, https_proxy and no_proxy say by CONNECT. Trust is NODE_EXTRA_CA_CERTS, which Node reads by itself.
// It changes nothing else, and leaves alone what NODE_USE_ENV_PROXY has set up. A failure here is a line on standard error.
'use strict';

const env = (name) => process.env[name] || process.env[name.toUpperCase()] || '';
const byItself = env('NODE_USE_ENV_PROXY') === '1' && process.allowedNodeEnvironmentFlags.has('--use-env-proxy');

/** The URL of the proxy for a host, or undefined: it is called directly. */
function proxyFor(scheme, host) {
  const direct = env('no_proxy').split(',').map((entry) => entry.trim().replace(/^\*?\./, '')).filter(Boolean);
  const exempt = direct.some((entry) => entry === '*' || host === entry || host.endsWith(`.${entry}`));
  return exempt || !env(`${scheme}_proxy`) ? undefined : new URL(env(`${scheme}_proxy`));
}

function install() {
  const { Duplex } = require('node:stream');
  const [net, tls, http, https] = ['net', 'tls', 'http', 'https'].map((name) => require(`node:${name}`));

  /** A connection through the proxy: it takes writes at once and holds them until the proxy has answered. */
  class Tunnel extends Duplex {
    constructor(proxy, host, port) {
      super({ allowHalfOpen: false });
      const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
      const fail = (what) => this.destroy(new Error(`${proxy.origin} does not connect to ${authority}: ${what}`));
      let head = Buffer.alloc(0);
      const answer = (chunk) => {
        head = Buffer.concat([head, chunk]);
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) return;
        const status = head.toString('latin1', 0, head.indexOf('\r\n'));
        if (!/^HTTP\/1\.[01] 2/.test(status)) return fail(status);
        const pass = (data) => this.push(data) || this.socket.pause();
        this.socket.off('data', answer).off('close', closed).on('data', pass).on('end', () => this.push(null));
        if (head.length > end + 4) pass(head.subarray(end + 4));
        this.connecting = false;
        this.emit('connect');
      };
      const closed = () => fail('it closes the connection');
      this.connecting = true;
      this.socket = net.connect({ host: proxy.hostname.replace(/[[\]]/g, ''), port: proxy.port || 80 });
      this.socket.on('data', answer).on('close', closed);
      this.socket.on('error', (error) => this.destroy(error)).on('timeout', () => this.emit('timeout'));
      this.socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    }
    _read() { this.socket.resume(); }
    _write(chunk, encoding, done) {
      const write = () => this.socket.write(chunk, encoding, done);
      this.connecting ? this.once('connect', write) : write();
    }
    _final(done) { this.socket.end(done); }
    _destroy(error, done) { this.socket.destroy(); done(error); }
  }
  for (const name of ['ref', 'unref', 'setKeepAlive', 'setNoDelay', 'setTimeout']) {
    Tunnel.prototype[name] = function (...args) { this.socket[name](...args); return this; };
  }

  /** What a TLS socket over a tunnel does not do by itself. */
  function over(tunnel, socket) {
    for (const name of ['ref', 'unref']) socket[name] = () => { tunnel[name](); return socket; };
    return socket;
  }

  for (const [scheme, { Agent }] of [['http', http], ['https', https]]) {
    const create = Agent.prototype.createConnection;
    Agent.prototype.createConnection = function (options, ...rest) {
      const { host, hostname, port, socket, socketPath } = Object(options);
      const name = hostname || host || '';
      const proxy = name && !socket && !socketPath && !this.options?.proxyEnv && proxyFor(scheme, name);
      if (!proxy) return create.call(this, options, ...rest);
      const tunnel = new Tunnel(proxy, name, port || this.defaultPort);
      return scheme === 'http' ? tunnel : over(tunnel, create.call(this, { ...options, socket: tunnel }));
    };
  }

  /** fetch has a dispatcher of its own, which it makes at the first call; what goes through the proxy gets another. */
  function dispatch() {
    void globalThis.Response; // loads undici
    const agent = globalThis[Symbol.for('undici.globalDispatcher.1')];
    const options = agent[Object.getOwnPropertySymbols(agent).find((symbol) => symbol.description === 'options')];
    if (agent.constructor.name !== 'Agent' || options?.connect) return; // the program has one of its own
    const connect = ({ hostname, port, protocol, servername }, done) => {
      const tunnel = new Tunnel(proxyFor(protocol.slice(0, -1), hostname), hostname, port || (protocol === 'http:' ? 80 : 443));
      const name = servername || (net.isIP(hostname) ? undefined : hostname);
      const socket = protocol === 'http:' ? tunnel
        : over(tunnel, tls.connect({ socket: tunnel, servername: name, ALPNProtocols: ['http/1.1'] }));
      socket.once(protocol === 'http:' ? 'connect' : 'secureConnect', () => done(null, socket.off('error', done)));
      socket.once('error', done);
    };
    const proxied = new agent.constructor({ ...options, connect });
    const direct = agent.dispatch;
    agent.dispatch = function (request, handler) {
      const { protocol, hostname } = new URL(request.origin);
      return proxyFor(protocol.slice(0, -1), hostname) ? proxied.dispatch(request, handler) : direct.call(this, request, handler);
    };
  }

  if (byItself || !globalThis.fetch) return;
  const { fetch } = globalThis;
  let ready = false;
  globalThis.fetch = function (...args) {
    if (!ready) attempt(dispatch);
    ready = true;
    return fetch(...args);
  };
}

function attempt(change) {
  try {
    change();
  } catch (error) {
    process.stderr.write(`backstay: shim: ${error}\n`);
  }
}

if (env('http_proxy') || env('https_proxy')) attempt(install);
