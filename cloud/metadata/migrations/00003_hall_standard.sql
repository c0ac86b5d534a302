-- +goose Up
-- What the boxes of each hall were told last; its serial only grows.
CREATE TABLE hall_standard (
	store TEXT PRIMARY KEY,
	serial BIGINT NOT NULL,
	hash TEXT NOT NULL, signature BYTEA NOT NULL,
	body BYTEA NOT NULL -- what was signed, verbatim
);
