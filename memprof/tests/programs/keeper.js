// keeper.js COUNT SIZE [fill]: keeps buffers along a path of three functions, filled if asked; says so, and
// waits for the end of its input.
'use strict';
const kept = [];
function keepOrder(size) {
  const order = Buffer.allocUnsafeSlow(size);
  order.fill(1, 0, filled);
  kept.push(order);
}
function serve(requests, size) {
  for (let i = 0; i < requests; i++) keepOrder(size);
}
const [requests, size] = process.argv.slice(2).map(Number);
const filled = process.argv[4] === 'fill' ? size : 1;
console.log('ready');
process.stdin.once('data', () => {
  serve(requests, size);
  console.log('kept');
});
process.stdin.on('end', () => process.exit(kept.length === requests ? 0 : 1));
