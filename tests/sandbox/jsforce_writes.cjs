// Writes to a running simulator with jsforce and prints what it saw as one line of JSON.
// Usage: node jsforce_writes.cjs '<ready JSON>'
const jsforce = require("jsforce");

async function main(ready) {
  const connection = new jsforce.Connection({ instanceUrl: ready.url, accessToken: ready.access_token, version: "66.0" });
  const seen = {};
  const accounts = connection.sobject("Account");

  const made = await accounts.create({ Name: "One" });
  await accounts.update({ Id: made.id, Name: "Renamed" });
  const read = await accounts.retrieve(made.id);
  const gone = await accounts.destroy(made.id);
  const after = await accounts.retrieve(made.id).catch((error) => error.errorCode);
  seen.single = [made.success, read.Name, gone.success, after];

  const many = await accounts.create([{ Name: "A" }, { Phone: "1" }, { Name: "C" }], { allowRecursive: true });
  seen.many = many.map((each) => each.success);
  seen.error = many[1].errors[0].statusCode ?? many[1].errors[0].errorCode;
  const all = await accounts.create([{ Name: "A" }, { Phone: "1" }], { allOrNone: true });
  seen.all = all.map((each) => each.errors[0].statusCode ?? each.errors[0].errorCode);

  const first = await accounts.upsert({ Ext__c: "X-1", Name: "Upserted" }, "Ext__c");
  const second = await accounts.upsert({ Ext__c: "X-1", Name: "Again" }, "Ext__c");
  seen.upsert = [first.created, second.created];
  const both = await accounts.upsert([{ Ext__c: "X-1", Name: "Third" }, { Ext__c: "X-2", Name: "New" }], "Ext__c");
  seen.upsertMany = both.map((each) => each.created);
  const ids = both.map((each) => each.id);
  seen.updated = (await accounts.update(ids.map((Id) => ({ Id, Name: "Both" })))).map((each) => each.success);
  seen.destroyed = (await accounts.destroy(ids)).map((each) => each.success);

  connection.bulk2.pollInterval = 20;
  connection.bulk2.pollTimeout = 60000;
  const input = Array.from({ length: 500 }, (_, row) => ({ Ext__c: `B-${row}`, Name: `Bulk ${row}`, Phone: "1" }));
  input.push({ Ext__c: "B-bad", Name: "y".repeat(300), Phone: "1" });
  const results = await connection.bulk2.loadAndWaitForResults({ object: "Account", operation: "upsert", externalIdFieldName: "Ext__c", input });
  seen.bulk = {
    good: results.successfulResults.length,
    bad: results.failedResults.map((each) => each.sf__Error.split(":")[0]),
    left: results.unprocessedRecords.length,
  };
  const keys = results.successfulResults.map((each) => ({ Id: each.sf__Id }));
  await connection.bulk2.loadAndWaitForResults({ object: "Account", operation: "update", input: [{ Id: keys[0].Id, Phone: null }] });
  seen.cleared = (await accounts.retrieve(keys[0].Id)).Phone;
  const deleted = await connection.bulk2.loadAndWaitForResults({ object: "Account", operation: "delete", input: keys });
  seen.deleted = deleted.successfulResults.length;
  console.log(JSON.stringify(seen));
}

main(JSON.parse(process.argv[2])).catch((error) => {
  console.error(error);
  process.exit(1);
});
