#!/bin/sh
# wget. Each step is a line: its name, and what it came to.
base=https://api.vendor.example/v1
get() { wget -q -t 1 --content-on-error -O - "$@"; }
post() { get --header 'Content-Type: application/json' --post-data '{"pay": 1}' "$@"; }
field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p"; }

echo "plain $(post $base/plain | field text)"
echo "stream $(get $base/stream | while read -r line; do [ -z "$line" ] || date +%s.%N; done | awk 'NR == 1 {first = $1} {last = $1} END {printf "%d %.2f", NR, last - first}')"
echo "retry $(post $base/flaky | field text)"
echo "cache $(get $base/cached | field number) $(get $base/cached | field number)"
echo "dedup $(post --header 'Idempotency-Key: order-1' $base/once | field number) $(post --header 'Idempotency-Key: order-1' $base/once | field number)"
ok=0
for _ in 1 2 3 4 5 6 7 8; do
  if last=$(post $base/down); then ok=$((ok + 1)); fi
done
echo "breaker $ok ok, last: $(echo "$last" | tr '\n' ' ' | cut -c1-600)"
