// The worker of the official TypeScript client, unchanged, serves the session of a scripted agent to its end.

import assert from "node:assert/strict";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";

import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import { betaAgentToolset20260401 } from "@anthropic-ai/sdk/tools/agent-toolset/node";

import { client, control, environments, selfHosted } from "./support.mjs";

const steps = [
  { thinking: true },
  { text: "I write a file, and look at it." },
  { tool: "write", input: { file_path: "notes/a.txt", content: "one\ntwo\n" } },
  { wait: "results" },
  { tool: "edit", input: { file_path: "notes/a.txt", old_string: "two", new_string: "three" } },
  { wait: "results" },
  { tool: "read", input: { file_path: "notes/a.txt" } },
  { tool: "glob", input: { pattern: "**/*.txt" } },
  { tool: "grep", input: { pattern: "thr", path: "notes" } },
  { wait: "results" },
  { tool: "bash", input: { command: "cat notes/a.txt; (exit 3)" }, permission: "ask" },
  { confirm: "bash", result: "allow" },
  { custom_tool: "weather", input: { city: "Berlin" } },
  { wait: "results" },
  { tool: "bash", label: "denied", input: { command: "touch denied" }, permission: "deny" },
  { tool: "bash", label: "quiet", input: { command: "true" } },
  { wait: "results" },
  { text: "Done." },
];

const weather = betaTool({
  name: "weather",
  description: "Reports the weather of a city.",
  inputSchema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  run: ({ city }) => `sunny in ${city}`,
});

let workdir;
beforeEach(async () => {
  await control("POST", "reset");
  workdir = await fs.mkdtemp(join(tmpdir(), "antenv-interop-"));
});
afterEach(() => fs.rm(workdir, { recursive: true }));

/** Has the official worker serve the environment until the session's agent has played all its steps; the report. */
async function serve({ id: environmentId, key: environmentKey }, session) {
  const ending = new AbortController();
  const worker = environments.work.worker({
    environmentId,
    environmentKey,
    workdir,
    signal: ending.signal,
    maxIdleMs: 200,
    tools: (context) => [...betaAgentToolset20260401(context), weather],
  });
  const running = worker.run();
  let report;
  let work;
  do {
    await Promise.race([running, new Promise((resolve) => setTimeout(resolve, 50))]);
    [report] = (await control("GET", `scripts?session_id=${session.id}`)).data;
    work = (await control("GET", "history")).data;
  } while (!report.done || work.at(-1).event !== "stopped");
  ending.abort();
  await running;
  return report;
}

test("the official worker serves a session to its end", async () => {
  const hosted = await selfHosted();
  await control("POST", "scripts", { environment_id: hosted.id, steps });
  const session = await client.beta.sessions.create({ agent: "agent_interop", environment_id: hosted.id });
  const { calls } = await serve(hosted, session);
  const text = Object.fromEntries(calls.map(({ label, attempts }) => [label, attempts[0]?.content[0].text]));
  assert.deepEqual(
    calls.map(({ label, answered }) => [label, answered]),
    [
      ...["write", "edit", "read", "glob", "grep", "bash", "weather"].map((label) => [label, "once"]),
      ["denied", "never"],
      ["quiet", "once"],
    ],
  );
  assert.equal(text.read, "one\nthree\n");
  // The client's glob is Node's, from version 22 on.
  if (fs.glob) assert.match(text.glob, /notes\/a\.txt/);
  for (const label of ["grep", "bash"]) assert.match(text[label], /three/);
  assert.deepEqual([text.weather, text.quiet], ["sunny in Berlin", "(no output)"]);
  const failed = calls.filter(({ attempts }) => attempts[0]?.is_error).map(({ label }) => label);
  assert.deepEqual(failed, fs.glob ? ["bash"] : ["glob", "bash"]);
});

test("the official worker gets over streams that break", async () => {
  const hosted = await selfHosted();
  const one = [{ tool: "bash", input: { command: "echo $((++n))" } }, { wait: "results" }];
  await control("POST", "scripts", { environment_id: hosted.id, steps: [...one, ...one, ...one] });
  const operation = "sessions.events.stream";
  await control("POST", "faults", [
    { operation, status: 503 },
    { operation, stream: { after: 1, then: "cut", pieces: 5 } },
    { operation, stream: { after: 1, then: "error" } },
    { operation, stream: { pieces: 3 }, count: 100 },
  ]);
  const session = await client.beta.sessions.create({ agent: "agent_interop", environment_id: hosted.id });
  const { calls } = await serve(hosted, session);
  assert.deepEqual(
    calls.map(({ answered, attempts }) => [answered, attempts[0].content[0].text.trim()]),
    ["1", "2", "3"].map((text) => ["once", text]),
  );
});

test("the official worker has the skill and the memory of the session", async () => {
  const hosted = await selfHosted();
  const skill = await control("POST", "skills", { name: "pdf", files: { "SKILL.md": "# How to read a PDF" } });
  const { id: store } = await control("POST", "memory_stores", { name: "Notes", memories: { "/todo.md": "old" } });
  const steps = [
    { tool: "read", input: { file_path: "skills/pdf/SKILL.md" } },
    { tool: "bash", input: { command: `cat memory/${store}/todo.md` } },
    { wait: "results" },
    { tool: "write", input: { file_path: `memory/${store}/todo.md`, content: "new" } },
    { tool: "bash", label: "add", input: { command: `echo added > memory/${store}/sub.md` } },
    { wait: "results" },
  ];
  await control("POST", "scripts", { environment_id: hosted.id, steps });
  const session = await client.beta.sessions.create({
    agent: {
      type: "agent_with_overrides",
      id: "agent_interop",
      skills: [{ type: "custom", skill_id: skill.skill_id, version: "latest" }],
    },
    environment_id: hosted.id,
    resources: [{ type: "memory_store", memory_store_id: store, access: "read_write" }],
  });
  const { calls } = await serve(hosted, session);
  const answers = calls.map(({ attempts }) => [attempts[0].is_error, attempts[0].content[0].text]);
  assert.deepEqual(answers.slice(0, 2), [
    [false, "# How to read a PDF"],
    [false, "old"],
  ]);
  const contents = {};
  for await (const { path, content } of client.beta.memoryStores.memories.list(store, { view: "full" })) {
    contents[path] = content;
  }
  assert.deepEqual(contents, { "/todo.md": "new", "/sub.md": "added\n" });
});
