// A plugin made with the SDK as it is: an audience feed that answers as its messages ask. It stands below a prefix, as
// behind a gateway. Prints its port, and shows at /calls what has come.

const http = require('node:http');

const express = require('express');

// What the SDK reads when it is loaded or a plugin is made.
process.env.PLUGIN_WORKER_ID = 'worker';
process.env.PLUGIN_AUTHENTICATION_TOKEN = 'token';

/** The gateway from which the SDK fetches the feed and its properties. */
const gateway = http.createServer((request, response) => {
  const data = request.url.endsWith('/properties') ? [] : { id: '1', plugin_id: '17' };
  response.setHeader('content-type', 'application/json').end(JSON.stringify({ status: 'ok', data }));
});

gateway.listen(0, '127.0.0.1', () => {
  process.env.GATEWAY_HOST = '127.0.0.1';
  process.env.GATEWAY_PORT = String(gateway.address().port);
  const { core } = require('@mediarithmics/plugins-nodejs-sdk');

  const seen = new Set();

  class Feed extends core.AudienceFeedConnectorBasePlugin {
    async onExternalSegmentCreation() {
      return { status: 'ok' };
    }

    async onExternalSegmentConnection() {
      return { status: 'ok' };
    }

    async onUserSegmentUpdate(request) {
      const first = !seen.has(request.session_id);
      seen.add(request.session_id);
      switch (request.session_id) {
        case 'pace':
          return { status: 'ok', next_msg_delay_in_ms: 2000 };
        case 'retry':
          return { status: first ? 'retry' : 'ok' };
        case 'retry-later':
          return first ? { status: 'retry', next_msg_delay_in_ms: 1500 } : { status: 'ok' };
        case 'none':
          return { status: 'no_eligible_identifier', message: 'nobody' };
        case 'block':
          // The SDK measures how late its timers are, and turns messages away when that is much.
          for (const until = Date.now() + 4000; Date.now() < until; );
          return { status: 'ok' };
        default:
          return { status: 'ok' };
      }
    }
  }

  const plugin = new Feed(true);
  plugin.logger.silent = true;
  const calls = [];
  const outer = express();
  outer.get('/calls', (_, response) => response.json(calls));
  outer.use((request, response, next) => {
    const call = { path: request.path, id: request.get('webhook-id'), attempt: request.get('tidegate-attempt'), at_ms: Date.now() };
    response.on('finish', () => calls.push({ ...call, status: response.statusCode }));
    next();
  });
  outer.use('/plugins/:version', plugin.app);
  const server = outer.listen(0, '127.0.0.1', () => console.log(`port ${server.address().port}`));
});
