//! Black-box tests: the real worker and the sandbox as processes, a real RabbitMQ. One file a behaviour; a test for
//! every row of the table "What happens when" in README.md. `make test` runs them.

mod support;

mod answers_once;
mod brake;
mod broker_loss;
mod cases;
mod commands;
mod confirms_target;
mod container;
mod crashes;
mod deletes;
mod faults;
mod fence_model;
mod hostile_messages;
mod hostile_provider;
mod https;
mod in_use;
mod job_table;
mod kubernetes;
mod message_contract;
mod monitoring;
mod pace;
mod permissions;
mod publishers;
mod replicas;
mod retention;
mod secrets;
mod security_page;
mod shutdown;
mod started_events;
mod status;
mod stops_the_line;
mod systemd;
mod tls;
mod waits_and_gives_up;
mod withheld;
