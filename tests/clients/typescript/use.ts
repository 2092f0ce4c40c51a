// Uses the generated types as an application would. Usage: use.js BASE ENDPOINT. Hands in three events, all of which arrive.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Schemas = components["schemas"];

const [base, endpoint] = process.argv.slice(2);
assert(base && endpoint, "usage: use.js BASE ENDPOINT");
const client = createClient<paths>({ baseUrl: base });

async function eventually<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  const until = Date.now() + 20_000;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    assert(Date.now() < until, `not in time: ${what}`);
    await sleep(50);
  }
}

/** Creates and deploys a limit of Adobe's Throttling API. */
async function deployedConfig(): Promise<string> {
  const config: Schemas["ThrottlingConfig"] = {
    name: "orders",
    urlPattern: `${endpoint}/*`,
    methods: ["POST"],
    maxThroughput: 200,
  };
  const created = await client.POST("/authoring/throttlingConfigs", { body: config });
  assert(created.data, JSON.stringify(created.error));
  assert.equal(created.data.canDeploy.validationStatus, "ok");
  const uid: string = created.data.uid;
  const params = { path: { uid } };
  const deployed = await client.POST("/authoring/throttlingConfigs/{uid}/deploy", { params });
  assert.equal(deployed.response.status, 204);
  const shown = await client.GET("/authoring/throttlingConfigs/{uid}", { params });
  const state: Schemas["AdobeState"] | undefined = shown.data?.result.state;
  assert.equal(state, "deployed");
  return uid;
}

async function enqueued(n: number): Promise<Schemas["Receipt"]> {
  const body: Schemas["Event"] = { url: `${endpoint}/orders`, body: { n }, headers: { "x-source": "shop" } };
  const { data, error } = await client.POST("/v1/events", { body });
  // Several events have answers of their own, one has a receipt.
  assert(typeof data === "object" && "policies" in data, JSON.stringify(error));
  return data;
}

async function ended(id: string): Promise<Schemas["EventState"] | undefined> {
  const { data } = await client.GET("/v1/events/{id}", { params: { path: { id } } });
  return data?.state === "settled" ? data : undefined;
}

async function heldByPause(id: string): Promise<Schemas["Explanation"] | undefined> {
  const { data } = await client.GET("/v1/explain", { params: { query: { id } } });
  return data && "held" in data && data.held.reason === "paused" ? data : undefined;
}

const policy = await deployedConfig();
const known = await client.GET("/v1/policies");
assert.deepEqual(known.data?.policies.map((known) => known.id), [policy]);

const first = await enqueued(1);
assert.deepEqual(first.policies, [policy]);
assert.equal((await eventually("it is delivered", () => ended(first.id))).outcome, "delivered");

const params = { path: { id: policy } };
const paused = await client.POST("/v1/policies/{id}:pause", { params, body: { reason: "a rebuild", for_seconds: 600 } });
assert.equal(paused.data?.hold?.reason, "a rebuild");
const second = await enqueued(2);
const held = await eventually("the pause holds it", () => heldByPause(second.id));
assert.equal(held.lane?.name, second.lane);
const waiting = await client.GET("/v1/events/{id}", { params: { path: { id: second.id } } });
assert.equal(waiting.data?.url, `${endpoint}/orders`);
const resumed = await client.POST("/v1/policies/{id}:resume", { params });
assert.equal(resumed.data?.hold, null);
await eventually("it is delivered", () => ended(second.id));

const lines = await client.POST("/v1/events", {
  body: [{ url: `${endpoint}/orders`, body: { n: 3 } }, { url: "ftp://shop" }],
});
assert(Array.isArray(lines.data));
const [accepted, refused] = lines.data;
assert(accepted && "id" in accepted && refused && "code" in refused);
assert.deepEqual([refused.line, refused.code, refused.errors?.[0]?.pointer], [2, "invalid_event", "/url"]);
await eventually("it is delivered", () => ended(accepted.id));

// One type for what goes wrong, whatever it is.
const unmatched = await client.POST("/v1/events", { body: { url: "http://shop.example/none" } });
const missing = await client.GET("/v1/policies/{id}", { params: { path: { id: "none" } } });
const problems: (Schemas["Problem"] | undefined)[] = [unmatched.error, missing.error];
assert.deepEqual(problems.map((problem) => [problem?.status, problem?.code]), [[422, "unmatched"], [404, "policy_not_found"]]);

// Negative controls: the compiler refuses what the description does not have. They are not run.
export async function refusedByTheCompiler() {
  // @ts-expect-error: an event has a url, not a uri.
  await client.POST("/v1/events", { body: { uri: "http://127.0.0.1/" } });
  // @ts-expect-error: the route does not exist.
  await client.POST("/v1/policies/{id}:stop", { params });
  // @ts-expect-error: a state is one of three words.
  const state: Schemas["AdobeState"] = "gone";
  return state;
}
