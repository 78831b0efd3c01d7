#!/bin/sh
# Fills the corpus of eh_frame with small real sections.
set -eu
corpus=$(dirname "$0")/corpus/eh_frame
mkdir -p "$corpus"
for file in /usr/lib/x86_64-linux-gnu/*.so* /usr/bin/*; do
    name=$corpus/$(basename "$file")
    objcopy -O binary --only-section=.eh_frame "$file" "$name" 2>/dev/null || continue
    # libFuzzer takes the first byte as part of the input: it is the options.
    printf 's' | cat - "$name" > "$name.seed"
    rm "$name"
    [ "$(stat -c %s "$name.seed")" -le 4096 ] || rm "$name.seed"
done
find "$corpus" -size -64c -delete
ls "$corpus" | wc -l
