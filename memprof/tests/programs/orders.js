// Keeps buffers, which the C library's malloc makes, along a path of three functions.
'use strict';
const kept = [];
function keepOrder(size) {
  const order = Buffer.allocUnsafeSlow(size);
  order[0] = 1;
  kept.push(order);
}
function handleRequest(size) {
  keepOrder(size);
  return kept.length;
}
function serve(requests, size) {
  let last = 0;
  for (let i = 0; i < requests; i++) last = handleRequest(size);
  return last;
}
const [requests, size] = process.argv.slice(2).map(Number);
console.log('kept', serve(requests, size));
