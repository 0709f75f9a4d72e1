//! Black-box tests: the real worker and the sandbox as processes, a real RabbitMQ. One file a behaviour; a test for
//! every row of docs/what-happens-when.md. `make test` runs them.

mod support;

mod answers_once;
mod brake;
mod broker_loss;
mod cases;
mod commands;
mod confirms_target;
mod console;
mod container;
mod contract_http;
mod contract_messages;
mod crashes;
mod dead;
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
mod pages;
mod permissions;
mod publishers;
mod publishing;
mod replicas;
mod retention;
mod secrets;
mod security_page;
mod shutdown;
mod started_events;
mod status;
mod stops_the_line;
mod submit;
mod submit_and_wait;
mod systemd;
mod tls;
mod traces;
mod waits_and_gives_up;
mod withheld;
