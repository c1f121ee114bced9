// The main job of a program that works with the API, through the TypeScript client that openapi-generator generates.
//
// Run by ci/api-test, which has generated the client in ./client, with the address of the API, an API token, and the
// id of a connected device that sends {"temperature": 21.5} every now and then.

import { deepStrictEqual, ok, strictEqual } from "node:assert";
import {
  Configuration, DescriptionApi, DevicesApi, EventKind, EventsApi, HistoryApi, MessagesApi, ProblemFromJSON,
  ResponseError, StreamEventFromJSON,
} from "./client/index.js";
import type { StreamEvent } from "./client/index.js";

/** How long anything may take, in milliseconds. */
const PATIENCE = 30_000;

const [api, token, device] = process.argv.slice(2) as [string, string, string];

/** The events of a stream, as they arrive. */
async function* read(response: Response): AsyncGenerator<StreamEvent> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body!) {
    const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      if (line.startsWith("data: ")) yield StreamEventFromJSON(JSON.parse(line.slice("data: ".length)));
    }
  }
}

/** The next event of this kind that matches. */
async function next<K extends StreamEvent["kind"]>(
  events: AsyncGenerator<StreamEvent>,
  kind: K,
  matches: (event: Extract<StreamEvent, { kind: K }>) => boolean = () => true,
): Promise<Extract<StreamEvent, { kind: K }>> {
  for (;;) {
    const { value, done } = await events.next();
    ok(!done, `the event stream has ended, expected ${kind}`);
    const event = value as Extract<StreamEvent, { kind: K }>;
    if (event.kind === kind && matches(event)) return event;
  }
}

async function main(): Promise<void> {
  // The description needs no token.
  const description = await new DescriptionApi(new Configuration({ basePath: api })).getDescription();
  ok(String(description["openapi"]).startsWith("3.1"));

  const configuration = new Configuration({ basePath: api, accessToken: token });
  const devices = new DevicesApi(configuration);
  const messages = new MessagesApi(configuration);

  const page = await devices.listDevices({ search: device, connected: true });
  deepStrictEqual(page.devices.map((one) => one.id), [device]);
  const age = Date.now() - page.devices[0]!.connectedSince!.getTime();
  ok(age >= 0 && age < 600_000, `${age}`);

  // The stream has no end, so it is read as it arrives.
  const kind = [EventKind.Message, EventKind.Sent, EventKind.RawSent, EventKind.Revoked, EventKind.Disconnected];
  const stream = await new EventsApi(configuration).streamEventsRaw({ device, kind, heartbeat: 1 });
  const events = read(stream.raw);

  const sent = await messages.sendMessage({ id: device, body: { fan: "on" } });
  const event = await next(events, "sent", (event) => event.messageId === sent.id);
  deepStrictEqual(event.message, { fan: "on" });

  const literal = await messages.sendMessage({ id: device, body: { $ref: "#/fan" }, literal: true });
  await next(events, "sent", (event) => event.messageId === literal.id);

  const raw = await messages.sendRawMessage({ id: device, body: new Blob(["\0typescript"]) });
  const rawSent = await next(events, "raw-sent", (event) => event.messageId === raw.id);
  strictEqual(Buffer.from(rawSent.bytes, "base64").toString(), "\0typescript");

  const message = await next(events, "message");
  deepStrictEqual(message.message, { temperature: 21.5 });
  strictEqual(message.device, device);
  ok(Date.now() - message.time.getTime() < 600_000);

  const history = await new HistoryApi(configuration).getHistory();
  ok(history.messages.some((count) => count > 0) && history.connects.some((count) => count > 0));

  const unknown = await devices.getDevice({ id: "no-such-device" }).then(
    () => Promise.reject(new Error("a device that does not exist was found")),
    (error: unknown) => error,
  );
  ok(unknown instanceof ResponseError);
  strictEqual(ProblemFromJSON(await unknown.response.json()).code, "device-not-found");

  await devices.revokeDevice({ id: device });
  await next(events, "revoked");

  await events.return(undefined);
  console.log(`typescript: listed ${device}, sent to it, heard from it, read the history, and revoked it`);
}

setTimeout(() => {
  console.error(`typescript: not done within ${PATIENCE} ms`);
  process.exit(1);
}, PATIENCE).unref();
await main();
