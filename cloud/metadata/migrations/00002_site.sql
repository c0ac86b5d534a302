-- +goose Up
-- What has no span of its own: a new label does not rewrite last year.
CREATE TABLE node (
	id TEXT PRIMARY KEY, -- of a node of the org tree, or of a hall
	level TEXT NOT NULL, -- the chain's word for it; '' is a hall
	zh TEXT NOT NULL, en TEXT NOT NULL,
	lat DOUBLE PRECISION, lon DOUBLE PRECISION
);
CREATE TABLE node_span (
	node TEXT NOT NULL REFERENCES node (id),
	since BIGINT NOT NULL, until BIGINT NOT NULL,
	parent TEXT NOT NULL, -- '' is the top
	time_zone TEXT NOT NULL, opening TEXT NOT NULL, exceptions TEXT NOT NULL, -- '' is the parent's
	PRIMARY KEY (node, since)
);
CREATE TABLE box (
	store TEXT NOT NULL REFERENCES node (id),
	id TEXT NOT NULL,
	since BIGINT NOT NULL, until BIGINT NOT NULL,
	zh TEXT NOT NULL, en TEXT NOT NULL,
	public_key TEXT NOT NULL,
	PRIMARY KEY (store, id, since)
);
CREATE TABLE scene (
	store TEXT NOT NULL, edge TEXT NOT NULL, camera TEXT NOT NULL,
	first BIGINT NOT NULL, last BIGINT NOT NULL, -- when this version was told
	rev TEXT NOT NULL,
	record BYTEA NOT NULL, -- as it came, the newest of this rev
	change BIGINT NOT NULL, -- of the topic scene, when the row was written
	PRIMARY KEY (store, edge, camera, first)
);
CREATE INDEX scene_change ON scene (change);
CREATE TABLE standard (
	node TEXT NOT NULL, serial BIGINT NOT NULL,
	valid_from BIGINT NOT NULL,
	hash TEXT NOT NULL, signature BYTEA NOT NULL,
	body BYTEA NOT NULL, -- what was signed, verbatim
	PRIMARY KEY (node, serial)
);
