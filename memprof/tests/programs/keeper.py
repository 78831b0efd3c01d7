# keeper.py COUNT SIZE: keeps byte arrays in a list; says so, and waits for the end of its input.
import sys

count, size = map(int, sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
kept = [bytearray(size) for _ in range(count)]
print("kept", flush=True)
sys.stdin.read()
