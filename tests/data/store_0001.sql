-- A store as revision 0001 left it. Later revisions must go on reading it: do not change it.
BEGIN TRANSACTION;
CREATE TABLE accounts (
	name VARCHAR(100) NOT NULL, 
	password VARCHAR(255) NOT NULL, 
	created DOUBLE NOT NULL, 
	CONSTRAINT pk_accounts PRIMARY KEY (name)
);
INSERT INTO "accounts" VALUES('Ada','scrypt$16$8$1$OV/cL5Y5XHjDzATalyX40A==$YSXxXZLN5r2YRgKQFFKJdr5uL4ypCqF70ryWyuTZGW8=',11.0);
CREATE TABLE added_models (
	id VARCHAR(64) NOT NULL, 
	created DOUBLE NOT NULL, 
	entry TEXT NOT NULL, 
	CONSTRAINT pk_added_models PRIMARY KEY (id)
);
INSERT INTO "added_models" VALUES('m1',12.0,'{"base_model":"b","inference_server":"vllm:host:1"}');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE conversations (
	owner VARCHAR(255) NOT NULL, 
	id VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	created DOUBLE NOT NULL, 
	updated DOUBLE NOT NULL, 
	title TEXT NOT NULL, 
	folded_title TEXT NOT NULL, 
	text TEXT NOT NULL, 
	settings TEXT NOT NULL, 
	messages TEXT NOT NULL, 
	CONSTRAINT pk_conversations PRIMARY KEY (owner, id)
);
INSERT INTO "conversations" VALUES('owner','c1','chat',10.25,20.5,'Größe','grösse','wie gross?','{"temperature":0.5}','[{"role":"user","content":"Wie groß?"}]');
CREATE TABLE votes (
	id INTEGER NOT NULL, 
	owner VARCHAR(255) NOT NULL, 
	time DOUBLE NOT NULL, 
	models TEXT NOT NULL, 
	winner TEXT, 
	conversation VARCHAR(64), 
	prompt TEXT NOT NULL, 
	CONSTRAINT pk_votes PRIMARY KEY (id)
);
INSERT INTO "votes" VALUES(1,'owner',30.5,'["a","b"]','a','c1','Why?');
INSERT INTO "votes" VALUES(2,'owner',31.0,'["a","b"]',NULL,NULL,'How?');
CREATE INDEX ix_conversations_owner_updated ON conversations (owner, updated);
COMMIT;
