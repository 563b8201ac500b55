// The stripe package. What it streams is a file.
import Stripe from "stripe";
import { often, step, streamed } from "./steps.mjs";

const stripe = new Stripe("sk_test_agent", { maxNetworkRetries: 0 });
const create = (description, options = {}) => stripe.customers.create({ description }, options);
const cached = async () => (await stripe.customers.retrieve("cached")).id;
const once = async () => (await create("once", { idempotencyKey: "order-1" })).id;

await step("plain", async () => (await create("plain")).description);
await step("stream", async () => streamed(await stripe.quotes.pdf("qt_1", {}, { streaming: true })));
await step("retry", async () => (await create("flaky")).description);
await step("cache", async () => `${await cached()} ${await cached()}`);
await step("dedup", async () => `${await once()} ${await once()}`);
await step("breaker", () => often(() => create("down")));
