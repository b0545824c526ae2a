#!/bin/bash
# Measures every row of docs/speed.md, in 15 minutes on two quiet cores: benchmarks/rows.sh PEER CLIPS RUN > rows.txt
#   PEER   a checkout of the original code      CLIPS  a folder of RAVDESS's mp4 files
#   RUN    a trained run of the demo, such as outputs/toy/ia1-frozen-softhard-pretrained/fold0-seed1
# OMP_NUM_THREADS must not be set. The environment that `make` sets up must be active.
set -e
peer=$1; clips=$2; run=$3
cd "$(dirname "$0")/.."
row() { echo "== python -m benchmarks $*"; python -W ignore -m benchmarks "$@" 2> >(grep -v -e 'it/s' -e '%|' >&2); }

row start --run "$run" --rounds 1
row describe --rounds 3
row evaluate --peer "$peer" --clips 16 --rounds 1
row train --peer "$peer" --rounds 1
row preprocess --peer "$peer" --data-root "$clips" --clips 6 --rounds 2
row film --data-root "$clips" --rounds 1
row explore --data-root "$clips" --steps 30
row attribution --clips 60 --rounds 1
row studies --rounds 1
row demo
row demo --jobs 2
