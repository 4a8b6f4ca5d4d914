// Drives a running simulator with jsforce and prints what it saw as one line of JSON.
// Usage: node jsforce_check.cjs '<ready JSON>'
const jsforce = require("jsforce");

async function main(ready) {
  const oauth2 = { loginUrl: ready.url, clientId: ready.client_id, clientSecret: ready.client_secret };
  const connection = new jsforce.Connection({
    instanceUrl: ready.url, accessToken: ready.access_token, version: "66.0", oauth2, refreshToken: ready.app_refresh_token,
  });
  const seen = {};
  const everything = await connection.describeGlobal();
  seen.objects = everything.sobjects.map((each) => each.name);
  const contact = await connection.describe("Contact");
  seen.contactFields = contact.fields.length;
  const contacts = await connection.query("SELECT Id, Name, Account.Name FROM Contact ORDER BY Id", { autoFetch: true, maxFetch: 100000 });
  seen.contacts = contacts.totalSize;
  seen.fetched = contacts.records.length;
  seen.distinct = new Set(contacts.records.map((each) => each.Id)).size;
  const found = await connection.sobject("Account").find({ Industry: { $in: ["Retail", "Mining"] } }, "Id, Name, Industry").limit(5);
  seen.found = found.map((each) => each.Industry);
  connection.bulk2.pollInterval = 20;
  connection.bulk2.pollTimeout = 60000;
  const stream = await connection.bulk2.query("SELECT Id, Name, Description FROM Account");
  const rows = await stream.toArray();
  seen.bulk = rows.length;
  seen.names = rows.slice(0, 3).map((row) => row.Name);
  try {
    await connection.query("SELECT Nonsense FROM Account");
  } catch (error) {
    seen.error = error.errorCode;
  }
  connection.accessToken = "00D000000000000!stale";
  seen.afterRefresh = (await connection.query("SELECT COUNT() FROM Lead")).totalSize;
  const limits = await connection.limits();
  seen.limits = limits.DailyApiRequests.Max;
  seen.limitInfo = connection.limitInfo.apiUsage.limit;
  seen.user = (await connection.identity()).username;
  const account = await connection.sobject("Account").retrieve(rows[0].Id);
  seen.retrieved = account.Name === rows[0].Name;
  const login = new jsforce.Connection({ instanceUrl: ready.url, oauth2 });
  await login.authorize({ grant_type: "client_credentials" });
  seen.organization = login.userInfo.organizationId;
  console.log(JSON.stringify(seen));
}

main(JSON.parse(process.argv[2])).catch((error) => {
  console.error(error);
  process.exit(1);
});
