"""From a source record to a target record: rules as data, compiled to Polars expressions. No Django here."""
