// Loaded into jsii's node process by bindings.py: makes the index of a prebuilt provider load its submodules on use,
// and leaves out work that nobody sees the result of.
'use strict';
const fs = require('fs');
const Module = require('module');
const threads = require('worker_threads');

const INDEX = /[\\/]@cdktf[\\/]provider-[\w-]+[\\/]lib[\\/]index\.js$/;
// Each token keeps the JavaScript frames it was made in, several kilobytes that say nothing to a Python program.
const STACK_TRACE = /[\\/]cdktf[\\/]lib[\\/]tokens[\\/]private[\\/]stack-trace\.js$/;
const EXPORT = /^exports\.(\w+) = require\((["'])(\.\/[\w-]+)\2\);$/gm;
// Defined in the index in place of each `exports.name = require(path)`. The first use replaces it by the submodule.
const LAZY = `function lazy(name, path) {
  Object.defineProperty(exports, name, { configurable: true, enumerable: true, get() {
    const value = require(path);
    Object.defineProperty(exports, name, { configurable: true, enumerable: true, writable: true, value });
    return value;
  } });
}`;

/** The index's source with lazy exports. Throws where the index does more than exporting its submodules. */
function lazily(source) {
  const lazy = source.replace(EXPORT, (_, name, __, path) => `lazy('${name}', '${path}');`);
  const code = lazy.replace(/^\/\/# sourceMappingURL=.*$/m, '');
  if (lazy === source || /\brequire\(/.test(code)) throw new Error('its index is not laid out as expected');
  return `${code}\n${LAZY}`;
}

const stock = Module._extensions['.js'];
Module._extensions['.js'] = function load(module, file) {
  if (!INDEX.test(file)) {
    stock(module, file);
    if (STACK_TRACE.test(file)) module.exports.captureStackTrace = () => [];
    return;
  }
  let source;
  try {
    source = lazily(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    console.error(`modelyard: using the stock provider bindings, which are slow: ${file}: ${error.message}`);
    return stock(module, file);
  }
  return module._compile(source, file);
};

// The first time it meets a provider, jsii indexes its types in a worker thread for the next time. It exits without
// waiting, which a short program always comes to before the index is written: each run would start from nothing.
if (threads.isMainThread) {
  const indexing = new Set();
  threads.Worker = class extends threads.Worker {
    constructor(...args) {
      super(...args);
      indexing.add(this);
      this.once('exit', () => indexing.delete(this));
    }
  };
  const exit = process.exit;
  process.exit = (code) => {
    if (indexing.size === 0) exit.call(process, code);
    for (const worker of indexing) worker.once('exit', () => indexing.size || exit.call(process, code));
  };
}
