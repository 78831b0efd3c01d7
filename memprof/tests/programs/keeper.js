// keeper.js COUNT SIZE: keeps buffers along a path of three functions; says so, and waits for the end of
// its input.
'use strict';
const kept = [];
function keepOrder(size) {
  const order = Buffer.allocUnsafeSlow(size);
  order[0] = 1;
  kept.push(order);
}
function serve(requests, size) {
  for (let i = 0; i < requests; i++) keepOrder(size);
}
const [requests, size] = process.argv.slice(2).map(Number);
console.log('ready');
process.stdin.once('data', () => {
  serve(requests, size);
  console.log('kept');
});
process.stdin.on('end', () => process.exit(kept.length === requests ? 0 : 1));
