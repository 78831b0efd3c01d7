"""Each unit is one JSON document, parsed and kept until all of a piece of work are; driven as workload.h
says. Memory comes from the kernel and goes back to it, piece by piece."""

import json
import os
import sys

DOCUMENT = json.dumps(
    [{"id": i, "name": "name %d" % i, "price": i * 0.37, "tags": ["a%d" % i, str(i)]} for i in range(50)]
)

print("ready", os.getpid(), flush=True)
for line in sys.stdin:
    kept = [json.loads(DOCUMENT) for _ in range(int(line))]
    del kept
    print("done", flush=True)
