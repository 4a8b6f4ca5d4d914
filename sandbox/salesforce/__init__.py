"""A local Salesforce org: the REST, Bulk 2.0 and OAuth paths real clients call, over generated or given data."""
