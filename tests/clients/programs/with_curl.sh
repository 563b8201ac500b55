#!/bin/sh
# curl. Each step is a line: its name, and what it came to.
base=https://api.vendor.example/v1
post() { curl -sS --fail-with-body -X POST -H 'Content-Type: application/json' -d '{"pay": 1}' "$@" 2>&1; }
field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p"; }

echo "plain $(post $base/plain | field text)"
echo "stream $(curl -sSN -o /tmp/out.$$ -w '%{time_starttransfer} %{time_total}' $base/stream | awk '{printf "%.2f", $2 - $1}') $(grep -c data: /tmp/out.$$)" |
  awk '{print $1, $3, $2}'
rm -f /tmp/out.$$
echo "retry $(post $base/flaky | field text)"
echo "cache $(curl -sS $base/cached | field number) $(curl -sS $base/cached | field number)"
echo "dedup $(post -H 'Idempotency-Key: order-1' $base/once | field number) $(post -H 'Idempotency-Key: order-1' $base/once | field number)"
ok=0
for _ in 1 2 3 4 5 6 7 8; do
  if last=$(post $base/down); then ok=$((ok + 1)); fi
done
echo "breaker $ok ok, last: $(echo "$last" | tr '\n' ' ' | cut -c1-600)"
