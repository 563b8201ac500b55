// The @anthropic-ai/sdk package.
import Anthropic from "@anthropic-ai/sdk";
import { often, step, streamed } from "./steps.mjs";

const client = new Anthropic({ apiKey: "sk-agent", maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const create = (model, more = {}, options = {}) => client.messages.create({ model, max_tokens: 10, messages, ...more }, options);
const cached = async () => (await client.models.list()).data[0].id;
const once = async () => (await create("once", {}, { headers: { "idempotency-key": "order-1" } })).id;

async function* deltas() {
  for await (const event of await create("stream", { stream: true })) if (event.type === "content_block_delta") yield event;
}

await step("plain", async () => (await create("plain")).content[0].text);
await step("stream", () => streamed(deltas()));
await step("retry", async () => (await create("flaky")).content[0].text);
await step("cache", async () => `${await cached()} ${await cached()}`);
await step("dedup", async () => `${await once()} ${await once()}`);
await step("breaker", () => often(() => create("down")));
