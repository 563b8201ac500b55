// The openai package.
import OpenAI from "openai";
import { often, step, streamed } from "./steps.mjs";

const client = new OpenAI({ apiKey: "sk-agent", maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const complete = (model, more = {}, options = {}) => client.chat.completions.create({ model, messages, ...more }, options);
const cached = async () => (await client.models.list()).data[0].id;
const once = async () => (await complete("once", {}, { headers: { "idempotency-key": "order-1" } })).id;

await step("plain", async () => (await complete("plain")).choices[0].message.content);
await step("stream", async () => streamed(await complete("stream", { stream: true })));
await step("retry", async () => (await complete("flaky")).choices[0].message.content);
await step("cache", async () => `${await cached()} ${await cached()}`);
await step("dedup", async () => `${await once()} ${await once()}`);
await step("breaker", () => often(() => complete("down")));
