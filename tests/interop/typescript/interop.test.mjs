// The official TypeScript client, unchanged, drives the emulator at ANTENV_EMULATOR_URL, which checks credentials as the
// service does. Where the two disagree, the emulator is wrong. test_typescript_sdk.py starts it and runs this.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import Anthropic, {
  AuthenticationError,
  BadRequestError,
  ConflictError,
  NotFoundError,
  PermissionDeniedError,
} from "@anthropic-ai/sdk";
import {
  BetaEnvironmentArchivedError,
  BetaEnvironmentNotFoundError,
  BetaInvalidConfigTypeChangeError,
  BetaInvalidMetadataError,
} from "@anthropic-ai/sdk/resources/beta/environments/environments";
import { BetaHeartbeatPreconditionFailedError } from "@anthropic-ai/sdk/resources/beta/environments/work";

const url = process.env.ANTENV_EMULATOR_URL;
assert.ok(url, "ANTENV_EMULATOR_URL must be set");

const NO_HEARTBEAT = "NO_HEARTBEAT";
const WORK_FIELDS = [
  "acknowledged_at",
  "created_at",
  "data",
  "environment_id",
  "id",
  "latest_heartbeat_at",
  "metadata",
  "secret",
  "started_at",
  "state",
  "stop_requested_at",
  "stopped_at",
  "type",
];

const settings = { baseURL: url, maxRetries: 0, timeout: 30_000 };
const client = new Anthropic({ apiKey: "sk-ant-api03-interop", ...settings });
const environments = client.beta.environments;

/** The work operations with an environment key or with the token of an item. */
const workWith = (authToken) => new Anthropic({ apiKey: null, authToken, ...settings }).beta.environments.work;

/** Calls a control endpoint of the emulator. */
async function control(method, path, body) {
  const response = await fetch(`${url}/_emulator/${path}`, { method, body: JSON.stringify(body) });
  assert.ok(response.ok, `${method} ${path}: ${response.status}`);
  return response.json();
}

const enqueue = (environment_id, fields = {}) => control("POST", "work", { environment_id, ...fields });
const requests = async () => (await control("GET", "requests")).data;
const helperRequests = async () => (await requests()).filter(({ headers }) => headers["x-stainless-helper"]);
const operations = (recorded) => recorded.map(({ operation }) => operation);
const bearer = ({ headers }) => headers.authorization.replace(/^Bearer /, "");

/** A self-hosted environment, its key, and the work operations with that key. */
async function selfHosted() {
  const { id } = await environments.create({ name: "workshop", config: { type: "self_hosted" } });
  const { environment_key: key } = await control("POST", "environment_keys", { environment_id: id });
  return { id, key, work: workWith(key) };
}

/** Claims and acknowledges an item that must be there. */
async function start({ id, work }) {
  const item = await work.poll(id);
  await work.ack(item.id, { environment_id: id });
  return item;
}

const sessionsToken = (item) => JSON.parse(Buffer.from(item.secret, "base64url")).sessions_token;

/** The call is refused with exactly this class and all that an error of the API carries; returns the error. */
async function refused(call, ErrorClass, type) {
  const error = await call.then(
    () => assert.fail(`expected ${ErrorClass.name}`),
    (error) => error,
  );
  assert.equal(error.constructor, ErrorClass, String(error));
  assert.match(error.requestID, /^req_/);
  assert.equal(error.error.request_id, error.requestID);
  assert.equal(error.type, type);
  assert.ok(error.apiMessage);
  return error;
}

const allRefused = (calls, ErrorClass, type) => Promise.all(calls.map((call) => refused(call, ErrorClass, type)));

async function all(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}

beforeEach(() => control("POST", "reset"));

// Environments

test("a minimal environment is a cloud environment with the defaults", async () => {
  const created = await environments.create({ name: "minimal" });
  const { id, created_at, updated_at, ...rest } = created;
  assert.match(id, /^env_/);
  assert.equal(updated_at, created_at);
  assert.ok(!Number.isNaN(Date.parse(created_at)));
  assert.deepEqual(rest, {
    archived_at: null,
    config: {
      networking: { type: "unrestricted" },
      packages: { apt: [], cargo: [], gem: [], go: [], npm: [], pip: [], type: "packages" },
      type: "cloud",
    },
    description: null,
    metadata: {},
    name: "minimal",
    scope: "organization",
    type: "environment",
  });
  assert.match(created._request_id, /^req_/);
  assert.deepEqual(await environments.retrieve(id), created);
});

test("every field of an environment comes back as given", async () => {
  const given = {
    name: "complete",
    config: {
      type: "cloud",
      networking: {
        type: "limited",
        allow_mcp_servers: true,
        allow_package_managers: true,
        allowed_hosts: ["api.example.com", "*.example.org"],
      },
      packages: {
        type: "packages",
        apt: ["jq"],
        cargo: ["ripgrep"],
        gem: ["rake"],
        go: ["golang.org/x/tools/cmd/stringer@latest"],
        npm: ["left-pad"],
        pip: ["pandas==2.2.0", "numpy"],
      },
    },
    description: "Everything at once.",
    metadata: { team: "data", tier: "1" },
    scope: "organization",
  };
  const created = await environments.create({ ...given, betas: ["message-batches-2024-09-24"] });
  const { name, config, description, metadata, scope } = created;
  assert.deepEqual({ name, config, description, metadata, scope }, given);
  assert.deepEqual(await environments.retrieve(created.id), created);
});

test("any text survives the round trip", async () => {
  for (const text of [
    "Grüße 環境 مرحبا",
    "🦀👩‍👩‍👧‍👦🏳️‍🌈",
    "\"quoted\" 'and' \\back\\slashed/",
    "NUL \0 in it",
    "two\nlines\r\n\tand a tab",
    "\u2028\u2029\x7f\ufeff",
  ]) {
    const { id } = await environments.create({ name: text, description: text, metadata: { [text]: text } });
    const { name, description, metadata } = await environments.retrieve(id);
    assert.deepEqual({ name, description, metadata }, { name: text, description: text, metadata: { [text]: text } });
  }
});

test("listing pages through everything, newest first", async () => {
  const created = [];
  for (const name of ["1", "2", "3", "4", "5"]) created.unshift(await environments.create({ name }));
  await control("DELETE", "requests");
  assert.deepEqual(await all(environments.list({ limit: 2 })), created);
  const queries = (await requests()).map(({ query }) => query.map(([name]) => name).sort());
  assert.deepEqual(queries, [["limit"], ["limit", "page"], ["limit", "page"]]);

  const first = await environments.list({ limit: 3 });
  assert.ok(first.hasNextPage());
  const second = await first.getNextPage();
  assert.deepEqual([...first.data, ...second.data], created);
  assert.ok(!second.hasNextPage());
});

test("archived environments are listed only on request", async () => {
  const kept = await environments.create({ name: "kept" });
  const archived = await environments.archive((await environments.create({ name: "archived" })).id);
  assert.deepEqual(await all(environments.list()), [kept]);
  assert.deepEqual(await all(environments.list({ include_archived: false })), [kept]);
  assert.deepEqual(await all(environments.list({ include_archived: true, limit: 1 })), [archived, kept]);
});

test("an update changes what it names and nothing else", async () => {
  const created = await environments.create({
    name: "before",
    description: "to be cleared",
    metadata: { kept: "1", changed: "1", nulled: "1", emptied: "1" },
    config: {
      type: "cloud",
      networking: { type: "limited", allow_package_managers: true, allowed_hosts: ["example.com"] },
      packages: { pip: ["numpy"], npm: ["left-pad"] },
    },
  });
  const merged = await environments.update(created.id, {
    metadata: { changed: "2", added: "2", nulled: null, emptied: "", "never was": null },
  });
  assert.ok(merged.updated_at > created.updated_at);
  const metadata = { kept: "1", changed: "2", added: "2" };
  assert.deepEqual(merged, { ...created, metadata, updated_at: merged.updated_at });

  const renamed = await environments.update(created.id, { name: "after", description: null });
  assert.deepEqual(renamed, { ...merged, name: "after", description: null, updated_at: renamed.updated_at });
  assert.equal((await environments.update(created.id, { description: "" })).description, "");

  const packages = { pip: ["pandas"] };
  const { config } = await environments.update(created.id, { config: { type: "cloud", packages } });
  assert.deepEqual(config, { ...created.config, packages: { ...created.config.packages, pip: ["pandas"] } });
});

test("an archived environment can be read but not changed", async () => {
  const { id } = await selfHosted();
  const archived = await environments.archive(id);
  assert.ok(archived.archived_at);
  assert.deepEqual(await environments.archive(id), archived);
  assert.deepEqual(await environments.retrieve(id), archived);
  await refused(environments.update(id, { name: "too late" }), BetaEnvironmentArchivedError, "invalid_request_error");
  await assert.rejects(client.beta.sessions.create({ agent: "agent_interop", environment_id: id }), BadRequestError);
});

test("a deleted environment is gone for every operation", async () => {
  const { id } = await selfHosted();
  assert.deepEqual({ ...(await environments.delete(id)) }, { id, type: "environment_deleted" });
  assert.deepEqual(await all(environments.list({ include_archived: true })), []);
  const calls = [
    environments.retrieve(id),
    environments.update(id, { name: "x" }),
    environments.archive(id),
    environments.delete(id),
    environments.work.stats(id),
    environments.work.retrieve("work_1", { environment_id: id }),
  ];
  await allRefused(calls, BetaEnvironmentNotFoundError, "not_found_error");
});

test("the type of a config cannot change", async () => {
  const { id } = await selfHosted();
  const change = environments.update(id, { config: { type: "cloud" } });
  await refused(change, BetaInvalidConfigTypeChangeError, "invalid_request_error");
});

test("requests that make no sense are refused as bad requests", async () => {
  const calls = [
    environments.create({ name: "" }),
    environments.create({ name: "x", config: { type: "submarine" } }),
    environments.create({ name: "x", metadata: { number: 1 } }),
    environments.list({ limit: 0 }),
    environments.list({ page: "not a cursor" }),
  ];
  await allRefused(calls, BadRequestError, "invalid_request_error");
  assert.deepEqual(await all(environments.list()), []);
});

// Credentials

test("each operation accepts only its own kinds of credential", async () => {
  const hosted = await selfHosted();
  const other = await selfHosted();
  const { id, work } = hosted;
  await enqueue(id, { count: 2 });
  const item = await start(hosted);
  const unclaimed = await work.poll(id);
  const holder = workWith(sessionsToken(item));

  const unknown = ["sk-ant-oat01-never-issued", "sk-ant-req-never-issued"].map((token) => workWith(token).poll(id));
  await allRefused(unknown, AuthenticationError, "authentication_error");
  const calls = [
    environments.work.list(id),
    environments.work.poll(id),
    other.work.poll(id),
    work.retrieve(item.id, { environment_id: id }),
    work.update(item.id, { environment_id: id, metadata: {} }),
    holder.retrieve(item.id, { environment_id: id }),
    holder.update(item.id, { environment_id: id, metadata: {} }),
    holder.ack(unclaimed.id, { environment_id: id }),
  ];
  await allRefused(calls, PermissionDeniedError, "permission_error");
  assert.ok((await holder.heartbeat(item.id, { environment_id: id })).lease_extended);
  assert.equal((await holder.stop(item.id, { environment_id: id })).state, "stopping");
  assert.equal((await environments.work.stop(item.id, { environment_id: id, force: true })).state, "stopped");
});

// Work

test("the work of a session goes from queued to stopped", async () => {
  const { id, work } = await selfHosted();
  const environment_id = id;
  assert.equal(await work.poll(id), null);
  const session = await client.beta.sessions.create({ agent: "agent_interop", environment_id, title: "Interop" });
  assert.deepEqual([session.environment_id, session.title, session.agent.id], [id, "Interop", "agent_interop"]);
  assert.deepEqual(await client.beta.sessions.retrieve(session.id), session);

  const claimed = await work.poll(id, { block_ms: 999, "Anthropic-Worker-ID": "interop" });
  assert.deepEqual(Object.keys(claimed).sort(), WORK_FIELDS);
  assert.match(claimed.id, /^work_/);
  assert.deepEqual(claimed.data, { id: session.id, type: "session" });
  assert.deepEqual([claimed.type, claimed.state, claimed.environment_id], ["work", "queued", id]);
  assert.match(sessionsToken(claimed), /^sk-ant-req-/);
  assert.equal(await work.poll(id), null);

  const acknowledged = await work.ack(claimed.id, { environment_id });
  assert.deepEqual(Object.keys(acknowledged).sort(), WORK_FIELDS);
  assert.deepEqual([acknowledged.state, acknowledged.secret], ["starting", null]);
  assert.ok(acknowledged.acknowledged_at);

  const beat = await work.heartbeat(claimed.id, { environment_id, expected_last_heartbeat: NO_HEARTBEAT });
  assert.deepEqual([beat.type, beat.state, beat.lease_extended], ["work_heartbeat", "active", true]);
  const active = await environments.work.retrieve(claimed.id, { environment_id });
  assert.deepEqual(Object.keys(active).sort(), WORK_FIELDS);
  assert.deepEqual([active.state, active.latest_heartbeat_at, active.secret], ["active", beat.last_heartbeat, null]);

  const stopping = await work.stop(claimed.id, { environment_id });
  assert.deepEqual([stopping.state, stopping.stopped_at], ["stopping", null]);
  const reply = await work.heartbeat(claimed.id, { environment_id, expected_last_heartbeat: beat.last_heartbeat });
  assert.deepEqual([reply.state, reply.lease_extended], ["stopping", false]);

  const stopped = await work.stop(claimed.id, { environment_id, force: true });
  assert.equal(stopped.state, "stopped");
  assert.ok(stopped.stopped_at);
  const tooLate = [
    work.stop(claimed.id, { environment_id }),
    work.stop(claimed.id, { environment_id, force: true }),
    work.ack(claimed.id, { environment_id }),
  ];
  await allRefused(tooLate, ConflictError, "conflict_error");
});

test("the statistics follow the queue", async () => {
  const { id, work } = await selfHosted();
  const empty = { depth: 0, oldest_queued_at: null, pending: 0, type: "work_queue_stats", workers_polling: 0 };
  assert.deepEqual({ ...(await work.stats(id)) }, empty);
  const [first] = (await enqueue(id, { count: 2 })).data;
  await work.poll(id, { "Anthropic-Worker-ID": "interop" });
  const counted = { depth: 1, oldest_queued_at: first.created_at, pending: 1, workers_polling: 1 };
  assert.deepEqual({ ...(await environments.work.stats(id)) }, { ...empty, ...counted });
});

test("each heartbeat must echo the one before", async () => {
  const hosted = await selfHosted();
  const { id: environment_id, work } = hosted;
  await enqueue(environment_id);
  const item = await start(hosted);
  const beat = (expected_last_heartbeat) =>
    work.heartbeat(item.id, { environment_id, expected_last_heartbeat, desired_ttl_seconds: 60 });
  const first = await beat(NO_HEARTBEAT);
  const second = await beat(first.last_heartbeat);
  assert.deepEqual([second.lease_extended, second.ttl_seconds], [true, 60]);
  for (const outdated of [NO_HEARTBEAT, first.last_heartbeat]) {
    const error = await refused(beat(outdated), BetaHeartbeatPreconditionFailedError, "invalid_request_error");
    assert.deepEqual(error.details.current_state, {
      state: "active",
      last_heartbeat: second.last_heartbeat,
      lease_extended: false,
      ttl_seconds: 60,
    });
  }
});

test("an item is handed out again when its lease or its claim is too old", async () => {
  const hosted = await selfHosted();
  const { id: environment_id, work } = hosted;
  await enqueue(environment_id);
  const claimed = await work.poll(environment_id);
  await control("POST", "clock", { advance_ms: 4000 });
  assert.equal(await work.poll(environment_id), null);
  const reclaimed = await work.poll(environment_id, { reclaim_older_than_ms: 3000 });
  assert.equal(reclaimed.id, claimed.id);
  await work.ack(claimed.id, { environment_id });
  const beat = await work.heartbeat(claimed.id, { environment_id });
  await control("POST", "clock", { advance_ms: 1000 * beat.ttl_seconds + 1000 });
  assert.equal((await start(hosted)).id, claimed.id);
});

test("listing work pages through everything, newest first", async () => {
  const { id, work } = await selfHosted();
  const items = (await enqueue(id, { count: 5 })).data;
  const listed = await all(work.list(id, { limit: 2 }));
  assert.deepEqual(
    listed.map((item) => item.id),
    items.map((item) => item.id).reverse(),
  );
  for (const item of listed) assert.deepEqual([Object.keys(item).sort(), item.secret], [WORK_FIELDS, null]);
});

test("the metadata of an item is merged", async () => {
  const { id: environment_id } = await selfHosted();
  const { id } = await enqueue(environment_id, { metadata: { kept: "1", changed: "1", nulled: "1" } });
  const update = (metadata) => environments.work.update(id, { environment_id, metadata });
  const updated = await update({ changed: "2", added: "✓", nulled: null });
  assert.deepEqual(updated.metadata, { kept: "1", changed: "2", added: "✓" });
  const tooMany = Object.fromEntries(Array.from({ length: 17 }, (_, number) => [`key ${number}`, "x"]));
  await refused(update(tooMany), BetaInvalidMetadataError, "invalid_request_error");
  assert.deepEqual(await environments.work.retrieve(id, { environment_id }), updated);
});

test("an unknown item is not found", async () => {
  const { id: environment_id, work } = await selfHosted();
  const calls = [
    environments.work.retrieve("work_unknown", { environment_id }),
    work.ack("work_unknown", { environment_id }),
    work.heartbeat("work_unknown", { environment_id }),
    work.stop("work_unknown", { environment_id }),
  ];
  await allRefused(calls, NotFoundError, "not_found_error");
});

// The poller and the worker that come with the client

test("the official poller claims, acknowledges and stops each item", async () => {
  const { id: environmentId, key: environmentKey } = await selfHosted();
  const items = (await enqueue(environmentId, { count: 2 })).data.map((item) => item.id);
  const seen = [];
  for await (const item of environments.work.poller({ environmentId, environmentKey, drain: true, blockMs: null })) {
    seen.push(item.id);
  }
  assert.deepEqual(seen, items);
  const own = await helperRequests();
  const cycle = ["work.poll", "work.ack", "work.stop"];
  assert.deepEqual(operations(own), [...cycle, ...cycle, "work.poll"]);
  for (const request of own) assert.deepEqual([request.status, bearer(request)], [200, environmentKey]);
});

test("the official worker stops a health check at once", async () => {
  const { id: environmentId, key: environmentKey } = await selfHosted();
  const { id } = await enqueue(environmentId, { data: { type: "healthcheck", id: "healthcheck_1" } });
  const ending = new AbortController();
  const running = environments.work.worker({ environmentId, environmentKey, signal: ending.signal }).run();
  while ((await environments.work.retrieve(id, { environment_id: environmentId })).state !== "stopped") {
    await Promise.race([running, new Promise((resolve) => setTimeout(resolve, 20))]);
  }
  ending.abort();
  await running;
  const stop = (await helperRequests()).find(({ operation }) => operation === "work.stop");
  assert.deepEqual([stop.status, stop.body], [200, { force: true }]);
  assert.match(bearer(stop), /^sk-ant-req-/);
});

test("the official worker learns from its first heartbeat that it is to stop", async () => {
  const hosted = await selfHosted();
  await client.beta.sessions.create({ agent: "agent_interop", environment_id: hosted.id });
  const item = await start(hosted);
  await hosted.work.stop(item.id, { environment_id: hosted.id });
  await handle(hosted, item);
  const own = await helperRequests();
  const beats = own.filter(({ operation }) => operation === "work.heartbeat");
  assert.deepEqual(
    beats.map(({ status, query }) => [status, query]),
    [[200, [["expected_last_heartbeat", NO_HEARTBEAT]]]],
  );
  const fetched = own.find(({ operation }) => operation === "sessions.retrieve");
  assert.deepEqual([fetched.status, bearer(fetched)], [200, sessionsToken(item)]);
  const stop = own.at(-1);
  assert.deepEqual([stop.operation, stop.status, stop.body], ["work.stop", 200, { force: true }]);
});

test("the official worker leaves alone an item of another worker", async () => {
  const hosted = await selfHosted();
  await client.beta.sessions.create({ agent: "agent_interop", environment_id: hosted.id });
  const item = await start(hosted);
  const beat = await hosted.work.heartbeat(item.id, { environment_id: hosted.id });
  await handle(hosted, item);
  const own = await helperRequests();
  const beats = own.filter(({ operation }) => operation === "work.heartbeat");
  assert.deepEqual(
    beats.map(({ status }) => status),
    [412],
  );
  assert.ok(!operations(own).includes("work.stop"));
  const left = await environments.work.retrieve(item.id, { environment_id: hosted.id });
  assert.deepEqual([left.state, left.latest_heartbeat_at], ["active", beat.last_heartbeat]);
});

/**
 * Has the official worker handle an item that is already claimed. It gets its session only after the reply to its first
 * heartbeat, so that what the heartbeat says decides.
 */
async function handle({ id: environmentId }, { id: workId, data, secret: workSecret }) {
  let release;
  const beaten = new Promise((resolve) => (release = resolve));
  const inOrder = async (target, options) => {
    const { pathname } = new URL(target);
    if (pathname.startsWith("/v1/sessions/")) await beaten;
    const response = await fetch(target, options);
    if (!pathname.endsWith("/heartbeat")) return response;
    const reply = new Response(await response.text(), response);
    setImmediate(release);
    return reply;
  };
  const { work } = client.withOptions({ fetch: inOrder }).beta.environments;
  await work.worker({}).handleItem({ workId, environmentId, sessionId: data.id, workSecret });
}
