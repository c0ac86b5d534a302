-- +goose Up
-- One set of files for SQLite and Postgres: BIGINT, TEXT, BYTEA and DOUBLE
-- PRECISION mean the same in both, stamps are Unix milliseconds, 0 is no end.
CREATE TABLE change (
	topic TEXT PRIMARY KEY,
	n BIGINT NOT NULL -- grows with each change, for whoever polls
);
CREATE TABLE lease (
	name TEXT PRIMARY KEY,
	owner TEXT NOT NULL,
	until BIGINT NOT NULL,
	fence BIGINT NOT NULL -- grows with each taking
);
