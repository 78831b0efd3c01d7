// toucher.js COUNT SIZE: fills buffers along a path of two functions; says so, and waits for the end of its
// input.
'use strict';
const kept = [];
function fillOrder(size) {
  kept.push(Buffer.alloc(size, 1));
}
function serve(requests, size) {
  for (let i = 0; i < requests; i++) fillOrder(size);
}
const [requests, size] = process.argv.slice(2).map(Number);
console.log('ready');
process.stdin.once('data', () => {
  serve(requests, size);
  console.log('kept');
});
process.stdin.on('end', () => process.exit(kept.length === requests ? 0 : 1));
