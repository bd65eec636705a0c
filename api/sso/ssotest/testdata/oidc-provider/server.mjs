// An OpenID provider for tests: oidc-provider with its development login form, which takes any
// password, and accounts, clients and keys that change while it runs.
//
//   node server.mjs MODULE PORT     MODULE: the file of oidc-provider; PORT 0: any
//
// It listens on the loopback interface, prints one line with its port, and ends with its input.
//
//   PUT  /control/state             {"clients": [client metadata], "accounts": {login: claims}}
//   POST /control/keys?kid=NAME     new signing keys, of that name
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

console.warn = console.info = () => {}; // that it is not for production, for every new provider

const [module, port] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(module));

const cookieKeys = [randomBytes(32).toString('hex')];
let keys = newKeys(randomUUID());
let state = { clients: [], accounts: {} };
let issuer;
let serve;

function newKeys(kid) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { keys: [{ ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' }] };
}

// A provider cannot be changed, so there is a new one; sessions and codes are kept by the module.
function rebuild() {
  const provider = new Provider(issuer, {
    clients: state.clients,
    jwks: keys,
    cookies: { keys: cookieKeys },
    claims: {
      openid: ['sub'],
      profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'],
      groups: ['groups'],
    },
    // Claims of scopes are in the ID token too, as at most providers that companies have.
    conformIdTokenClaims: false,
    findAccount: (ctx, sub) => state.accounts[sub] && {
      accountId: sub,
      claims: () => ({ ...state.accounts[sub], sub }),
    },
    extraTokenClaims: (ctx, token) => {
      const { groups, email, email_verified } = state.accounts[token.accountId] ?? {};
      return { groups, email, email_verified };
    },
    pkce: { required: () => true },
    features: {
      devInteractions: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: 'api', audience: resource, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
        }),
        useGrantedResource: () => true,
      },
    },
    // The module refuses to call the loopback interface, where the application under test is.
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  });
  serve = provider.callback();
}

async function control(req, res) {
  const { pathname, searchParams } = new URL(req.url, issuer);
  if (pathname === '/control/keys') {
    keys = newKeys(searchParams.get('kid'));
  } else {
    let body = '';
    for await (const chunk of req) body += chunk;
    state = JSON.parse(body);
  }
  rebuild();
  res.writeHead(204).end();
}

const server = createServer((req, res) => {
  if (!req.url.startsWith('/control/')) return serve(req, res);
  return control(req, res).catch((err) => res.writeHead(500).end(String(err)));
});
server.listen(Number(port), '127.0.0.1', () => {
  issuer = `http://localhost:${server.address().port}`;
  rebuild();
  console.log(`port ${server.address().port}`);
});
process.stdin.on('end', () => process.exit()).resume();
