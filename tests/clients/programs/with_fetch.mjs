// fetch, which Node has built in.
import { often, step, streamed } from "./steps.mjs";

const base = "https://api.vendor.example/v1";

async function call(method, path, body, headers = {}) {
  const answer = await fetch(base + path, { method, headers: { "content-type": "application/json", ...headers }, body });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer.json();
}
const cached = async () => (await call("GET", "/cached")).number;
const once = async () => (await call("POST", "/once", '{"pay": 1}', { "idempotency-key": "order-1" })).number;

await step("plain", async () => (await call("POST", "/plain", "{}")).text);
await step("stream", async () => streamed((await fetch(`${base}/stream`)).body));
await step("retry", async () => (await call("POST", "/flaky", "{}")).text);
await step("cache", async () => `${await cached()} ${await cached()}`);
await step("dedup", async () => `${await once()} ${await once()}`);
await step("breaker", () => often(() => call("POST", "/down", "{}")));
