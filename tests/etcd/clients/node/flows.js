// etcd3, the client library for Node: what a program sees of it, with each endpoint given.
//
//     node flows.js ENDPOINT[,ENDPOINT...] FLOW
//
// The lines are the same with every store that keeps etcd's promises. After the line "break" the program waits for a
// line on its standard input: the caller has then broken the store, and mended it.

const assert = require("node:assert");
const { once } = require("node:events");
const readline = require("node:readline");
const { setTimeout: pause } = require("node:timers/promises");
const { isBrokenCircuitError } = require("cockatiel");
const { Etcd3, isRecoverableError } = require("etcd3");

const PATIENCE_SECONDS = 120;
const TTL_SECONDS = 6;
/** The library exports no name for it. With the default it refuses writes of keys that it read at several revisions. */
const SERIALIZABLE = 1;

const input = readline.createInterface({ input: process.stdin });

async function breakStore() {
  console.log("break");
  await once(input, "line");
}

/** Call until the store answers: the library gives up after some tries. */
async function insist(call) {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!isRecoverableError(error) && !isBrokenCircuitError(error)) throw error;
      await pause(20);
    }
  }
}

async function until(condition) {
  while (!(await condition())) await pause(10);
}

async function kv(client) {
  for (let number = 0; number < 5; number++) await client.put(`kv/${number}`).value(String(10 - number));
  const first = Number((await client.get("kv/0").exec()).header.revision) - 4;
  await client.put("kv/3").value("again");
  const show = (what, kvs) =>
    console.log(what, kvs.map((kv) => `${kv.key}=${kv.value}(+${kv.mod_revision - first},${kv.version})`).join(" "));
  show("all", (await client.getAll().prefix("kv/").exec()).kvs);
  const some = await client.getAll().prefix("kv/").sort("Value", "Descend").limit(2).exec();
  show(`some of ${some.count}, more ${some.more}`, some.kvs);
  console.log("count", await client.getAll().prefix("kv/").count(), "keys", await client.getAll().prefix("kv/").keys());
  console.log("none", await client.get("kv/nothing"));
  console.log("before", await client.get("kv/3").revision(String(first + 4)).string());
  for (const expected of ["again", "else"]) {
    const done = await client
      .if("kv/3", "Value", "==", expected)
      .and("kv/3", "Version", ">", 1)
      .then(client.put("kv/3").value("changed"), client.get("kv/3"))
      .else(client.get("kv/1"), client.delete().key("kv/2"))
      .commit();
    console.log("transaction", done.succeeded, done.responses.map((response) => response.response).join());
  }
  await assert.rejects(client.get("kv/0").revision(String(first + 1000)).exec(), (error) => {
    console.log("the future:", error.constructor.name, error.message);
    return true;
  });
  const deleted = await client.delete().prefix("kv/").getPrevious();
  console.log("deleted", deleted.map((kv) => kv.key.toString()).join());
}

async function lock(client, another) {
  const first = client.lock("lock").ttl(TTL_SECONDS);
  await first.acquire();
  const owned = async () => (await client.get("lock").exec()).kvs[0]?.lease === (await first.leaseId());
  const tries = () => another.lock("lock").ttl(TTL_SECONDS).acquire();
  await assert.rejects(tries(), (error) => {
    console.log("the second one:", error.constructor.name);
    return true;
  });
  const begun = Date.now();
  await breakStore();
  while (Date.now() < begun + 3 * TTL_SECONDS * 1000) {
    // the time in which it must not be lost
    assert(await insist(owned), "the lock is lost");
    await pause(100);
  }
  console.log("the first one still has it");
  await insist(() => first.release());
  const second = await insist(tries);
  console.log("the second one has it");
  await second.release();
  console.log("left:", await client.get("lock"));
}

async function election(client, another) {
  const ours = client.election("flow", TTL_SECONDS);
  const theirs = another.election("flow", TTL_SECONDS);
  const failed = (error) => {
    throw error;
  };
  console.log("before:", await ours.leader());
  const observer = await another.election("flow", TTL_SECONDS).observe();
  observer.on("error", failed);
  const observed = (value) => until(() => observer.leader() === value).then(() => console.log("observed:", value));
  const one = ours.campaign("one");
  one.on("error", failed);
  await one.wait();
  await observed("one");
  const two = theirs.campaign("two");
  two.on("error", failed);
  let elected = false;
  const second = two.wait().then(() => (elected = true));
  await until(async () => (await client.getAll().prefix("election/flow/").count()) === 2);
  await breakStore();
  await insist(() => one.proclaim("one again"));
  await observed("one again");
  console.log("leader:", await insist(() => theirs.leader()), "another:", elected);
  await insist(() => one.resign());
  await second;
  await observed("two");
  await two.resign();
  await observed(undefined);
  await observer.cancel();
}

async function watch(client, another) {
  const seen = [];
  const prefix = "watch/";
  const watcher = await client.watch().prefix(prefix).withPreviousKV().create();
  for (const kind of ["put", "delete"]) {
    watcher.on(kind, (kv, previous) =>
      seen.push([kind, String(kv.key), String(kv.value), kv.mod_revision, previous?.mod_revision ?? "0"].join())
    );
  }
  const written = [];
  let over = false;
  const writing = (async () => {
    for (let number = 0; !over; number++) {
      const key = `${prefix}${number % 5}`;
      const answer = await insist(() =>
        number % 7 === 6 ? another.delete().key(key).exec() : another.put(key).value(String(number)).exec()
      );
      if (answer.deleted !== "0") written.push([key, answer.header.revision].join());
    }
  })();
  for (let number = 0; number < 3; number++) {
    const goal = seen.length + 20;
    await until(() => seen.length >= goal);
    await breakStore();
  }
  over = true;
  await writing;
  const end = (await insist(() => another.put(`${prefix}end`).value("").exec())).header.revision;
  await until(() => seen.at(-1).includes(`${prefix}end`));
  await watcher.cancel();

  const revisions = seen.map((event) => Number(event.split(",")[3]));
  assert(revisions.every((revision, at) => at === 0 || revisions[at - 1] < revision), "an event came twice, or too late");
  const found = new Set(seen.map((event) => [event.split(",")[1], event.split(",")[3]].join()));
  assert(written.every((write) => found.has(write)), "an event was missed");
  const last = {};
  for (const event of seen) {
    const [kind, key, , revision, previous] = event.split(",");
    if (key in last) assert.equal(previous, last[key], `the previous value of ${event}`);
    last[key] = kind === "put" ? revision : "0";
  }
  assert.equal(String(revisions.at(-1)), end);
  console.log("each event was seen once and in order");
  await another.delete().prefix(prefix);
}

async function lease(client) {
  const kept = client.lease(TTL_SECONDS);
  kept.on("lost", (error) => {
    throw error;
  });
  await kept.put("lease/kept").value("");
  const created = (await client.get("lease/kept").exec()).kvs[0].create_revision;
  const begun = Date.now();
  const left = client.lease(TTL_SECONDS, { autoKeepAlive: false });
  await left.put("lease/left").value("");
  await breakStore();
  await until(async () => (await insist(() => client.get("lease/left"))) === null);
  const lived = (Date.now() - begun) / 1000;
  assert(TTL_SECONDS < lived && lived < 3 * TTL_SECONDS, `a lease of ${TTL_SECONDS} s lived for ${lived} s`);
  console.error(`a lease that was left lived for ${lived.toFixed(1)} s`);
  await until(() => Date.now() > begun + 2 * TTL_SECONDS * 1000); // the time in which it must not be lost
  const found = (await insist(() => client.get("lease/kept").exec())).kvs;
  console.log("its key is the same:", found[0].create_revision === created);
  await assert.rejects(left.keepaliveOnce(), (error) => {
    console.log("kept alive afterwards:", error.constructor.name);
    return true;
  });
  await kept.revoke();
  console.log("revoked:", await client.get("lease/kept"));
}

async function stm(client, another) {
  const accounts = ["stm/0", "stm/1", "stm/2", "stm/3"];
  for (const account of accounts) await client.put(account).value("100");
  let over = false;
  const done = [0, 0];
  const tellers = [client, another].map(async (teller, mine) => {
    while (!over) {
      const [from, to] = [...accounts].sort(() => Math.random() - 0.5);
      await insist(() =>
        teller.stm({ retries: 1000, isolation: SERIALIZABLE }).transact(async (transaction) => {
          const [here, there] = [Number(await transaction.get(from)), Number(await transaction.get(to))];
          await transaction.put(from).value(String(here - 1));
          await transaction.put(to).value(String(there + 1));
        })
      );
      done[mine]++;
    }
  });
  const more = () => {
    const goals = done.map((number) => number + 20);
    return until(() => done.every((number, at) => number >= goals[at]));
  };
  await more();
  await breakStore();
  await more();
  over = true;
  await Promise.all(tellers);
  const balances = Object.values(await client.getAll().prefix("stm/").numbers());
  console.log(`the sum of ${balances.length} accounts is`, balances.reduce((sum, balance) => sum + balance));
  console.error(`${done} transfers`);
}

async function main() {
  const [, , endpoints, flow] = process.argv;
  const timer = setTimeout(() => assert.fail(`not within ${PATIENCE_SECONDS} s`), PATIENCE_SECONDS * 1000);
  const clients = [0, 1].map(() => new Etcd3({ hosts: endpoints.split(",") }));
  const flows = { kv, lock, election, watch, lease, stm };
  await flows[flow](...clients.map((client) => client.namespace("node/")));
  clients.forEach((client) => client.close());
  clearTimeout(timer);
  input.close();
}

main();
