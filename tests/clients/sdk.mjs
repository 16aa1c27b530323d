// SPDX-License-Identifier: LGPL-2.1-or-later
// Azure's SDK, with its default settings, through all that a recovery takes, by the credential that is named as argument
// (the SDK keeps tokens of a machine for its process); then what the simulator saw. "refused": what goes wrong.
import assert from "node:assert/strict";
import http from "node:http";
import { RecoveryServicesBackupClient } from "@azure/arm-recoveryservicesbackup";
import { createHttpHeaders, createPipelineRequest } from "@azure/core-rest-pipeline";
import {
  ClientCertificateCredential, ClientSecretCredential, ManagedIdentityCredential, WorkloadIdentityCredential,
} from "@azure/identity";

const WORK = process.env.WORK;
const TENANT = "11111111-2222-3333-4444-555555555555", SUBSCRIPTION = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
const ARM = "https://management.azure.com", POINT = "182457315790203", API = "2026-08-01";
const ITEMS = "backupManagementType eq 'AzureIaasVM' and itemType eq 'VM'";
const POINTS = "startDate eq '2026-11-01 12:00:00 AM' and endDate eq '2026-11-30 11:59:59 PM'";
const SDK_API = "2023-06-01"; // what this version of the SDK asks by itself

function control(method, path, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath: `${WORK}/control`, method, path }, (answer) => {
      let text = "";
      answer.on("data", (d) => (text += d));
      answer.on("end", () =>
        answer.statusCode < 300 ? resolve(text ? JSON.parse(text) : null) : reject(new Error(`${path}: ${text}`)));
    });
    request.on("error", reject);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
function must(condition, what) {
  if (!condition) throw new Error(what);
}
async function collect(list) {
  const all = [];
  for await (const entry of list) all.push(entry);
  return all;
}

// redacted: the status is asked at a version that has no scripts in it any more
async function recovery(client, redacted = false) {
  const items = await collect(client.backupProtectedItems.list("vault1", "rg",
    { filter: ITEMS }));
  must(items.length === 1 && items[0].properties.friendlyName === "web1", "the protected item is listed");
  const [, container, item] = items[0].id.match(/protectionContainers\/([^/]+)\/protectedItems\/([^/]+)/);
  const at = ["vault1", "rg", "Azure", container, item];
  const points = await collect(client.recoveryPoints.list(...at, { filter: POINTS }));
  must(points.length === 1 && points[0].name === POINT, "the recovery point is listed");
  const before = await client.recoveryPoints.get(...at, POINT);
  must(before.properties.isInstantIlrSessionActive === false, "no recovery is active before");

  let raw;
  await client.itemLevelRecoveryConnections.provision(...at, POINT, { properties: {
    objectType: "IaasVMILRRegistrationRequest", recoveryPointId: POINT,
    virtualMachineId: items[0].properties.virtualMachineId, renewExistingRegistration: false } },
  { onResponse: (r) => { raw = r; } });
  must(raw.status === 202, "a provision is accepted with 202");
  const operation = new URL(raw.headers.get("azure-asyncoperation")).pathname.split("/").pop();
  let status;
  do {
    await new Promise((done) => setTimeout(done, 50));
    status = await client.protectedItemOperationStatuses.get(...at, operation);
  } while (status.status === "InProgress");
  must(status.status === "Succeeded", "the operation succeeds");
  const same = await client.backupOperationStatuses.get("vault1", "rg", operation);
  const listed = await client.sendRequest(createPipelineRequest({
    method: "POST", url: `${ARM}${before.id}/listInstantItemRecoveryOperationResult?api-version=${API}`,
    headers: createHttpHeaders({ "content-type": "application/json", accept: "application/json" }),
    body: JSON.stringify({ provisionInstantItemRecoveryOperationId: operation }) }));
  must(listed.status === 200, `the list action answers: ${listed.status} ${listed.status === 200 ? "" : listed.bodyAsText}`);
  const inline = same.properties?.recoveryTarget?.clientScripts ?? [];
  must(status.properties?.recoveryTarget?.clientScripts?.length === (redacted ? undefined : 1) &&
    inline.length === (redacted ? 0 : 1), `the status ${redacted ? "has no script any more" : "has the script"}`);
  const scripts = JSON.parse(listed.bodyAsText).clientScripts;
  must(scripts.length === 1 && scripts[0].osType === "Linux", "a Linux machine has one script");
  must(redacted || inline[0].scriptContent === scripts[0].scriptContent, "the list action gives the same script");
  const text = Buffer.from(scripts[0].scriptContent, "base64").toString();
  const suffix = scripts[0].scriptNameSuffix, i = suffix.lastIndexOf("_");
  const password = suffix.slice(i + 33, i + 48);
  must(text.includes(`TargetPassword="${password}"`), "the password is where clients cut it out");
  await client.protectedItemOperationResults.get(...at, operation);
  must((await client.recoveryPoints.get(...at, POINT)).properties.isInstantIlrSessionActive === true, "a recovery is active");

  await client.itemLevelRecoveryConnections.revoke(...at, POINT, { onResponse: (r) => { raw = r; } });
  must(raw.status === 202, "a revoke is accepted with 202");
  const end = new URL(raw.headers.get("azure-asyncoperation")).pathname.split("/").pop();
  do {
    await new Promise((done) => setTimeout(done, 50));
    status = await client.backupOperationStatuses.get("vault1", "rg", end);
  } while (status.status === "InProgress");
  must((await client.recoveryPoints.get(...at, POINT)).properties.isInstantIlrSessionActive === false, "revoke ends it");
}

// What the SDK asked: the simulator is to understand just that.
function asked_as_expected(seen, version) {
  const of = (kind) => seen.filter((r) => r.kind === kind);
  for (const r of seen.filter((r) => !r.credential && r.kind !== "list-scripts" && /^\/subscriptions\/[^/]+\/resourceGroups/i.test(r.path))) {
    assert.equal(r.apiVersion, version, r.path);
    assert.match(r.userAgent, /azsdk-js-arm-recoveryservicesbackup/);
    assert.match(r.clientRequestId, /^[0-9a-f-]{36}$/);
  }
  assert.deepEqual(of("items").map((r) => r.filter), [ITEMS]);
  assert.deepEqual(of("points").map((r) => r.filter), [POINTS]);
  const body = (r) => (typeof r.body === "string" ? JSON.parse(r.body) : r.body);
  const posts = of("provision");
  assert.equal(posts.length, 1);
  assert.match(posts[0].path, /protectedItems\/[^/]+\/recoveryPoints\/182457315790203\/provisionInstantItemRecovery$/);
  assert.deepEqual(body(posts[0]), { properties: {
    objectType: "IaasVMILRRegistrationRequest", recoveryPointId: POINT, renewExistingRegistration: false,
    virtualMachineId: `/subscriptions/${SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/web1` } });
  must(of("revoke").length === 1 && !of("revoke")[0].body, "a revoke has no body");
  const polled = of("status").map((r) => r.path);
  must(polled.some((p) => /protectedItems\/[^/]+\/operationsStatus\/[0-9a-f-]{36}$/.test(p)) &&
    polled.some((p) => /vaults\/vault1\/backupOperations\/[0-9a-f-]{36}$/.test(p)), `both views of an operation: ${polled}`);
}

let failed = 0;
async function check(name, run) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (e) {
    failed++;
    console.log(`not ok ${name}`);
    console.error(e);
  }
}
const client = (credential, options) => new RecoveryServicesBackupClient(credential, SUBSCRIPTION, options);

const ways = [
  ["client secret", "secret", "app:app1", () => new ClientSecretCredential(TENANT, "app1", "good-secret")],
  ["client certificate", "certificate", "app:app1",
    () => new ClientCertificateCredential(TENANT, "app1", { certificatePath: `${WORK}/sp.pem` })],
  ["federated token", "federated", "app:app1",
    () => new WorkloadIdentityCredential({ tenantId: TENANT, clientId: "app1", tokenFilePath: `${WORK}/federated` })],
  ["managed identity", "imds", "identity:system", () => new ManagedIdentityCredential()],
  ["user-assigned managed identity", "imds", "identity:user1", () => new ManagedIdentityCredential({ clientId: "user1" })],
  ["Azure Arc", "arc", "identity:arc1", () => {
    process.env.IDENTITY_ENDPOINT = "http://localhost:40342/metadata/identity/oauth2/token";
    process.env.IMDS_ENDPOINT = "http://localhost:40342";
    return new ManagedIdentityCredential();
  }],
];
for (const [name, credential, principal, make] of ways.filter(([name]) => name === process.argv[2]))
  await check(`a recovery with the SDK, by ${name}`, async () => {
    await control("DELETE", "/sim/log");
    await recovery(client(make()));
    const seen = (await control("GET", "/sim/state")).requests;
    const tokens = seen.filter((r) => r.credential);
    must(tokens.length >= 1 && tokens.every((r) => r.credential === credential), `a token by ${credential}: ${JSON.stringify(tokens)}`);
    const posts = seen.filter((r) => /provisionInstantItemRecovery|revokeInstantItemRecovery/.test(r.path));
    must(posts.length === 2 && posts.every((r) => r.method === "POST" && r.principal === principal),
      `provision and revoke by ${principal}: ${JSON.stringify(posts)}`);
    asked_as_expected(seen, SDK_API);
  });
if (process.argv[2] === API)
  await check(`a recovery with the SDK at ${API}: the scripts are gone from the status`, async () => {
    await control("DELETE", "/sim/log");
    await recovery(client(new ClientSecretCredential(TENANT, "app1", "good-secret"), { apiVersion: API }), true);
    asked_as_expected((await control("GET", "/sim/state")).requests, API);
  });
if (process.argv[2] !== "refused") process.exit(failed ? 1 : 0);

await check("a wrong secret stops the SDK", async () => {
  let error;
  try {
    await collect(client(new ClientSecretCredential(TENANT, "app1", "wrong")).backupProtectedItems.list("vault1", "rg"));
  } catch (e) {
    error = e;
  }
  must(error && /7000215/.test(error.message), `AADSTS7000215 is expected: ${error}`);
});
await check("429 twice with Retry-After ends in success", async () => {
  await control("PUT", "/sim/scenario", { faults: [{ on: "items", fault: "throttled", times: 2, retryAfter: "1" }] });
  const begun = Date.now();
  const items = await collect(client(new ClientSecretCredential(TENANT, "app1", "good-secret")).backupProtectedItems.list("vault1", "rg"));
  must(items.length === 1 && Date.now() - begun >= 2000, `it waited as it was told: ${Date.now() - begun} ms`);
  await control("DELETE", "/sim/scenario");
});
process.exit(failed ? 1 : 0);
