// axios.
import axios from "axios";
import { often, step, streamed } from "./steps.mjs";

const base = "https://api.vendor.example/v1";

async function call(method, path, data, headers = {}) {
  try {
    return (await axios.request({ method, url: base + path, data, headers })).data;
  } catch (error) {
    if (error.response) throw new Error(`${error.response.status} ${JSON.stringify(error.response.data)}`);
    throw error;
  }
}
const cached = async () => (await call("get", "/cached")).number;
const once = async () => (await call("post", "/once", { pay: 1 }, { "idempotency-key": "order-1" })).number;

await step("plain", async () => (await call("post", "/plain", {})).text);
await step("stream", async () => streamed((await axios.get(`${base}/stream`, { responseType: "stream" })).data));
await step("retry", async () => (await call("post", "/flaky", {})).text);
await step("cache", async () => `${await cached()} ${await cached()}`);
await step("dedup", async () => `${await once()} ${await once()}`);
await step("breaker", () => often(() => call("post", "/down", {})));
