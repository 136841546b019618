// Ask the model "digits" what it sees, over mutual TLS, with a bearer token and a deadline.
//
//   node client.mjs [PROFILE [PROTO]]
//
// PROFILE is the folder that `guardhouse init` made; PROTO is inference.proto, here or from `guardhouse stubs`.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

process.noDeprecation = true; // grpc-js names the target in the handshake, and Node warns where that is an IP

const here = dirname(fileURLToPath(import.meta.url));
const [
  profile = join(here, "../../.demo"),
  proto = join(here, "../../protos/guardhouse/protos/inference.proto"),
] = process.argv.slice(2);

// A seven: 8 by 8 pixels, from 0 to 16.
const DIGIT = [
  0, 0, 7, 8, 13, 16, 15, 1,
  0, 0, 7, 7, 4, 11, 12, 0,
  0, 0, 0, 0, 8, 13, 1, 0,
  0, 4, 8, 8, 15, 15, 6, 0,
  0, 2, 11, 15, 15, 4, 0, 0,
  0, 0, 0, 16, 5, 0, 0, 0,
  0, 0, 9, 15, 1, 0, 0, 0,
  0, 0, 13, 5, 0, 0, 0, 0,
];

/** The entries of client.yaml, which is one level of `key: value` lines, quoted or not. */
function readProfile(folder) {
  const entry = /^(\w+)\s*:\s+(?:"([^"\\]*)"|'([^']*)'|(.*?))\s*(?:\s#.*)?$/;
  const lines = readFileSync(join(folder, "client.yaml"), "utf8").split("\n").map((line) => entry.exec(line));
  return Object.fromEntries(
    lines.filter(Boolean).map(([, key, double, single, plain]) => [key, double ?? single ?? plain]),
  );
}

/** Little-endian FP32, as raw contents want it. */
function rawFloats(values) {
  const raw = Buffer.alloc(values.length * 4);
  values.forEach((value, position) => raw.writeFloatLE(value, position * 4));
  return raw;
}

/** The first element of an INT64 output, sent raw or typed. */
function firstInteger(response, name) {
  const position = response.outputs.findIndex((output) => output.name === name);
  if (position < 0) throw new Error(`the answer has no output "${name}"`);
  const raw = response.raw_output_contents[position];
  return raw ? raw.readBigInt64LE() : response.outputs[position].contents.int64_contents[0];
}

const entries = readProfile(profile);
const file = (key) => readFileSync(join(profile, entries[key]));
const definition = protoLoader.loadSync(proto, { keepCase: true, longs: String, defaults: true });
const { inference } = grpc.loadPackageDefinition(definition);
const client = new inference.GRPCInferenceService(
  entries.target,
  grpc.credentials.createSsl(file("ca"), file("key"), file("certificate")),
);

const metadata = new grpc.Metadata();
if (entries.token_file) metadata.set("authorization", `Bearer ${file("token_file").toString().trim()}`);

const request = {
  model_name: "digits",
  inputs: [{ name: "image", datatype: "FP32", shape: [1, DIGIT.length] }],
  raw_input_contents: [rawFloats(DIGIT)],
};

const trace = (trailers) => trailers?.get("guardhouse-trace-id")[0] ?? "unknown";

let label;
const call = client.ModelInfer(request, metadata, { deadline: Date.now() + 10_000 }, (error, response) => {
  if (error) {
    const reason = error.metadata?.get("guardhouse-reason")[0] ?? "";
    console.error(`refused: ${grpc.status[error.code]} ${reason}: ${error.details} (trace ${trace(error.metadata)})`);
    process.exitCode = 1;
  } else {
    label = firstInteger(response, "label");
  }
});
call.on("status", (status) => {
  // The trailing metadata comes last, after the response.
  if (label !== undefined) console.log(`label ${label}\ntrace ${trace(status.metadata)}`);
  client.close();
});
