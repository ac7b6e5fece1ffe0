package duckdb

func ingestAndDie(string) {}
