#!/usr/bin/env bash
# What a GPU lent for some minutes is used for, the most valuable first. It ends by itself before SECONDS have passed.
#
#   benchmarks/gpu.sh [--seconds 540] [--data data] [--runs runs/gpu] [--out OUT] [--device cuda] [--steps N] [JOB ...]
#
# Jobs, by default all but the last, in this order; trainings of one job share the card:
#   cifar10        memoryGAN of CIFAR-10 at the paper's width and the plain GAN of its size, 20,000 steps
#   steps          what a step of both costs (python -m benchmarks), with nothing else on the card
#   fashion_mnist  the same two arms on Fashion-MNIST at the paper's width, 20,000 steps
#   mem_vae        MEM-VAE and VAE of MNIST, 30,000 steps
#   digits         the smallest recipe, for a rehearsal: benchmarks/gpu.sh --device cpu --steps 2 digits
#
# A training that is cut off has saved itself; the same command with the same --runs continues it. OUT (by default $OUT, else runs/gpu_out) gets
# rows (*.jsonl), the log, and models and newest checkpoints, in 8 files of at most 16 MiB: pieces of an archive are joined by `cat NAME.tar.gz.* | tar xz`.
set -uo pipefail
cd "$(dirname "$0")/.."

seconds=540 data=data runs=runs/gpu out=${OUT:-runs/gpu_out} device=cuda steps= jobs=()
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=$2; shift 2 ;;
    --data) data=$2; shift 2 ;;
    --runs) runs=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --device) device=$2; shift 2 ;;
    --steps) steps=$2; shift 2 ;;
    cifar10 | steps | fashion_mnist | mem_vae | digits) jobs+=("$1"); shift ;;
    *) echo "gpu.sh: $1: no such option or job: see the head of benchmarks/gpu.sh" >&2; exit 2 ;;
  esac
done
case $seconds$steps in *[!0-9]*) echo "gpu.sh: --seconds and --steps: give whole numbers" >&2; exit 2 ;; esac
[ ${#jobs[@]} -gt 0 ] || jobs=(cifar10 steps fashion_mnist mem_vae)
python=${PYTHON:-python3}
[ -x .venv/bin/python ] && python=.venv/bin/python
rehearsal=() && [ -n "$steps" ] && rehearsal=(--scoring.num_samples 200)
SAVING=$((seconds < 120 ? seconds / 3 : 40)) # seconds at the end for saving and packing
mkdir -p "$runs" "$out" || exit 2
exec > >(tee -a "$out/log.txt") 2>&1

left() { echo $((seconds - SAVING - SECONDS)); }

# train NAME RECIPE VARIANT STEPS [OPTION ...]: in the background, until it is done or time is up. Half of what is kept for saving is its own.
train() {
  local name=$1 recipe=$2 variant=$3 count=${steps:-$4}
  shift 4
  [ "$(left)" -gt 0 ] || { echo "== $name: no time left"; return; }
  echo "== $name: $count steps, $(left) s left"
  timeout --signal=TERM --kill-after=$((SAVING / 2)) "$(left)" "$python" -m memogen train "$recipe" --variant "$variant" --steps "$count" \
    --device "$device" --training.checkpoint_every $((count > 20 ? count / 20 : count)) --training.sample_every 0 --scoring.likelihood_every 0 \
    --out "$runs/$name" "$@" ${rehearsal[@]+"${rehearsal[@]}"} >> "$out/log.txt" 2>&1 &
  running+=($!)
}

arms() { # arms DATA FOLDER STEPS: memory and plain GAN side by side, as fast as the card can
  [ -e "$2" ] || { echo "== $1: left out: $2 is not there"; return; }
  for variant in memory_gan no_memory; do
    train "$1-$variant" "memory_gan/$1" "$variant" "$3" --data "$2" --training.precision bf16 --training.channels_last true \
      --training.cuda_graphs true
  done
}

for job in "${jobs[@]}"; do
  running=()
  case $job in
    cifar10) arms cifar10 "$data/cifar-10-batches-bin" 20000 ;;
    fashion_mnist) arms fashion_mnist "$data/fashion-mnist" 20000 ;;
    digits) train digits-memory_gan memory_gan/digits memory_gan 5000; train digits-no_memory memory_gan/digits no_memory 5000 ;;
    mem_vae)
      if [ -e "$data/mnist" ]; then
        for variant in mem_vae vae; do train "mem_vae-$variant" mem_vae/mnist "$variant" 30000 --data "$data/mnist"; done # its Adam cannot be recorded
      else
        echo "== mem_vae: left out: $data/mnist is not there"
      fi ;;
    steps)
      [ "$(left)" -gt 0 ] || { echo "== steps: no time left"; continue; }
      quick=(--precision bf16 --channels-last) && [ -n "$steps" ] && quick=(--quick)
      echo "== steps: $(left) s left"
      timeout --signal=INT --kill-after=5 "$(left)" "$python" -m benchmarks steps.cifar10 steps.fashion steps.digits steps.mem_vae \
        --device "$device" "${quick[@]}" --out "$runs/speed.jsonl" ;;
  esac
  for process in ${running[@]+"${running[@]}"}; do wait "$process"; done
done

# pack NAME FOLDER: an archive in pieces, if OUT has room for all of them
files=0 PIECE=16500000
pack() {
  local piece count
  tar czf "$runs/$1.tar.gz" -C "$(dirname "$2")" "$(basename "$2")" || return
  count=$(($(stat -c %s "$runs/$1.tar.gz") / PIECE + 1))
  if [ $((files + count)) -le 4 ] && [ "$SECONDS" -lt "$seconds" ]; then # 64 MiB in all, beside rows, rows of speed and the log
    split --bytes=$PIECE --numeric-suffixes "$runs/$1.tar.gz" "$out/$1.tar.gz." && files=$((files + count))
  else
    echo "== $1: no room"
  fi
  rm "$runs/$1.tar.gz"
}

rm -f "$out"/*.tar.gz.*
cat "$runs"/*/results.jsonl > "$out/results.jsonl" 2> /dev/null
[ -e "$runs/speed.jsonl" ] && cp "$runs/speed.jsonl" "$out/speed.jsonl"
for run in $(ls -d "$runs"/*/ 2> /dev/null); do
  [ -d "$run/model" ] && pack "$(basename "$run")-model" "$run/model"
done
for run in $(ls -d "$runs"/*/ 2> /dev/null); do
  newest=$(ls -d "$run"/checkpoints/step-* 2> /dev/null | tail -n 1)
  [ -n "$newest" ] && pack "$(basename "$run")-$(basename "$newest")" "$newest"
done
echo "== done after $SECONDS s; $(wc -l < "$out/results.jsonl") rows and $files packed files in $out"
