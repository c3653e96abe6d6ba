BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'old_mesh');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MINIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'stage','"meshhead"');
INSERT INTO "study_user_attributes" VALUES(2,1,'metric','"l1"');
INSERT INTO "study_user_attributes" VALUES(3,1,'config','"{\"stage\":\"meshhead\",\"init_from\":null,\"data\":{\"root\":\"data\",\"cache\":\"data\",\"image_size\":64,\"people\":40,\"frames\":3,\"cameras\":18,\"synthetic_seed\":0,\"max_train_images\":4,\"max_val_images\":2,\"workers\":0},\"model\":{\"variant\":\"ours\",\"grid_resolution\":12,\"geometry_width\":16,\"shape_mlp_width\":16,\"pose_mlp_width\":16,\"eye_mlp_width\":16,\"landmarks\":103,\"mlp_widths\":{},\"eye_motion\":\"rotate\"},\"loss\":{\"color_importance\":1.0,\"silhouette_importance\":0.1,\"landmark_deform_importance\":0.1,\"offset_importance\":0.01,\"landmark_sdf_importance\":0.1,\"laplacian_importance\":100.0},\"optim\":{\"lr\":0.001,\"landmark_lr_mult\":0.1,\"dit_lr_mult\":1.0,\"eye_lr_mult\":1.0,\"means_lr_mult\":0.1,\"features_lr_mult\":0.1,\"scales_lr_mult\":0.3,\"quats_lr_mult\":0.1,\"code_basis_lr_mult\":1.0,\"offset_lr_mult\":0.1,\"max_grad_norm\":1.0,\"lr_decay\":1.0},\"training\":{\"epochs\":2,\"batch_size\":1,\"seed\":0,\"device\":\"cpu\",\"precision\":\"auto\",\"patience\":null,\"min_delta\":0.0,\"warm_start_steps\":60,\"threads\":null,\"monitor\":\"l1\",\"monitor_mode\":\"min\",\"preview_images\":2}}"');
INSERT INTO "study_user_attributes" VALUES(4,1,'meshhead_sha256','null');
INSERT INTO "study_user_attributes" VALUES(5,1,'init_from_sha256','null');
INSERT INTO "study_user_attributes" VALUES(6,1,'sampler_seed','0');
INSERT INTO "study_user_attributes" VALUES(7,1,'sampler','"tpe: TPESampler"');
INSERT INTO "study_user_attributes" VALUES(8,1,'pruner','"pfl: PredictedFinalLossPruner"');
INSERT INTO "study_user_attributes" VALUES(9,1,'fingerprint','"{\"direction\": \"minimize\", \"metric\": \"l1\", \"space\": {\"lr\": {\"log\": true, \"max\": 0.01, \"min\": 0.0001, \"step\": null, \"type\": \"float\"}, \"shape_mlp_width\": {\"choices\": [16, 32], \"type\": \"categorical\"}}}"');
INSERT INTO "study_user_attributes" VALUES(10,1,'stop_reason','"interrupted"');
INSERT INTO "study_user_attributes" VALUES(11,1,'trials_wanted','3');
INSERT INTO "study_user_attributes" VALUES(12,1,'environment','{"code": "d4452214b761", "python": "3.11.7", "system": "Linux-6.18.44-fc-v657-x86_64-with-glibc2.36", "torch": "2.13.0+cpu", "optuna": "5.0.0", "numpy": "2.4.6", "warp-lang": "1.19.0", "plotly": "7.1.0", "pydantic": "2.14.4", "device": "CPU (x86_64, 1 threads)", "data": "data", "image size": "64 px", "training seed": "0", "networks": "none: the metric is the stage''s own loss with the published weights", "sampler seed": "0"}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,0,1.1284417659044265747e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,1,1.10729843378067016601e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,2,0,1.16531968116760253906e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,2,1,1.22205048799514770507e-01,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'lr',0.001,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(2,1,'shape_mlp_width',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 32]}}');
INSERT INTO "trial_params" VALUES(3,2,'lr',2.0285194254056329241e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(4,2,'shape_mlp_width',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 32]}}');
INSERT INTO "trial_params" VALUES(5,3,'lr',1.3836765181578689586e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(6,3,'shape_mlp_width',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 32]}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,1,'fixed_params','{"lr": 0.001, "shape_mlp_width": 16}');
INSERT INTO "trial_system_attributes" VALUES(2,1,'artifacts:c6107795-715d-4389-9aa2-6c98af49285d','"{\"artifact_id\": \"c6107795-715d-4389-9aa2-6c98af49285d\", \"filename\": \"validation_images.png\", \"mimetype\": \"image/png\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(3,1,'artifacts:b932490f-1394-409e-b7a4-154ce6b1f964','"{\"artifact_id\": \"b932490f-1394-409e-b7a4-154ce6b1f964\", \"filename\": \"learning_curve.png\", \"mimetype\": \"image/png\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(4,1,'artifacts:f6c4f467-097d-4eb9-8daf-6dd9f384603a','"{\"artifact_id\": \"f6c4f467-097d-4eb9-8daf-6dd9f384603a\", \"filename\": \"metrics.csv\", \"mimetype\": \"text/csv\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(5,2,'artifacts:df731f72-64ff-4565-8f94-c0dfc0312499','"{\"artifact_id\": \"df731f72-64ff-4565-8f94-c0dfc0312499\", \"filename\": \"validation_images.png\", \"mimetype\": \"image/png\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(6,2,'artifacts:c8c9812a-67c8-4557-8223-53d253bbff8b','"{\"artifact_id\": \"c8c9812a-67c8-4557-8223-53d253bbff8b\", \"filename\": \"learning_curve.png\", \"mimetype\": \"image/png\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(7,2,'artifacts:91050dea-9af5-4a7e-b069-5222e6203426','"{\"artifact_id\": \"91050dea-9af5-4a7e-b069-5222e6203426\", \"filename\": \"metrics.csv\", \"mimetype\": \"text/csv\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(8,4,'fixed_params','{"lr": 0.001383676518157869, "shape_mlp_width": 16}');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'baseline','true');
INSERT INTO "trial_user_attributes" VALUES(2,1,'owner','{"host": "HOST", "pid": 9521, "started": 1795900916.39, "ticks": 2528039, "token": "329d4f7f08c84dfd99fae5b9121a706e", "worker": null}');
INSERT INTO "trial_user_attributes" VALUES(3,1,'name','"trial_0000"');
INSERT INTO "trial_user_attributes" VALUES(4,1,'folder','"old/old_mesh/trial_0000"');
INSERT INTO "trial_user_attributes" VALUES(5,1,'seconds','1.4247962369991');
INSERT INTO "trial_user_attributes" VALUES(6,1,'best_checkpoint','"/home/me/project/old/old_mesh/trial_0000/best.pt"');
INSERT INTO "trial_user_attributes" VALUES(7,1,'last_checkpoint','"/home/me/project/old/old_mesh/trial_0000/last.pt"');
INSERT INTO "trial_user_attributes" VALUES(8,2,'owner','{"host": "HOST", "pid": 9521, "started": 1795900916.39, "ticks": 2528039, "token": "22454fbea3654fb9b3b3b01551034fa2", "worker": null}');
INSERT INTO "trial_user_attributes" VALUES(9,2,'name','"trial_0001"');
INSERT INTO "trial_user_attributes" VALUES(10,2,'folder','"old/old_mesh/trial_0001"');
INSERT INTO "trial_user_attributes" VALUES(11,2,'seconds','1.296901000001526');
INSERT INTO "trial_user_attributes" VALUES(12,2,'best_checkpoint','"/home/me/project/old/old_mesh/trial_0001/best.pt"');
INSERT INTO "trial_user_attributes" VALUES(13,2,'last_checkpoint','"/home/me/project/old/old_mesh/trial_0001/last.pt"');
INSERT INTO "trial_user_attributes" VALUES(14,3,'owner','{"host": "HOST", "pid": 9933, "started": 1795900936.33, "ticks": 2530033, "token": "f1a08fe4f2234977bb5fb49e2b126550", "worker": null}');
INSERT INTO "trial_user_attributes" VALUES(15,3,'name','"trial_0002"');
INSERT INTO "trial_user_attributes" VALUES(16,3,'folder','"old/old_mesh/trial_0002"');
INSERT INTO "trial_user_attributes" VALUES(17,3,'seconds','1.1606015389988897');
INSERT INTO "trial_user_attributes" VALUES(18,3,'best_checkpoint','"/home/me/project/old/old_mesh/trial_0002/best.pt"');
INSERT INTO "trial_user_attributes" VALUES(19,3,'last_checkpoint','"/home/me/project/old/old_mesh/trial_0002/last.pt"');
INSERT INTO "trial_user_attributes" VALUES(20,4,'resume_of','2');
INSERT INTO "trial_user_attributes" VALUES(21,3,'fail_reason','"interrupted"');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,1.10729843378067016601e-01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,1.16531968116760253906e-01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-28 21:22:06.340145','2026-11-28 21:22:07.955091');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-28 21:22:08.035542','2026-11-28 21:22:09.522172');
INSERT INTO "trials" VALUES(3,2,1,'FAIL','2026-11-28 21:22:24.118465','2026-11-28 21:22:25.408717');
INSERT INTO "trials" VALUES(4,3,1,'WAITING',NULL,NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
