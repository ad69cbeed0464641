//! What a consumer does to have queues for itself: it locks them, and unlocks them again. The oracle knows who has a
//! lock for certain, so nobody else may get it.

use super::{Consumer, Lost};
use crate::sim::client::remoting::local_id;
use crate::state::limits::LOCK_TERM_MS;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::remoting::body::locks::{LockAnswer, LockRequest, MessageQueue};
use ringmq_wire::remoting::{Command, body, request_code, response_code};
use std::time::Duration;

const TERM: Duration = Duration::from_millis(LOCK_TERM_MS as u64);

impl Consumer {
    /// Locks or unlocks queues of one shard, those that others read among them.
    pub(super) async fn lock_or_unlock(&mut self, shard: &str) -> Result<(), Lost> {
        let of_shard = (0..self.topic.queues).filter(|queue| self.topic.shard_of(*queue) == shard);
        let queues: Vec<u32> = of_shard.collect();
        match self.draw.one_in(4) {
            true => self.unlock(shard, &queues).await,
            false => self.lock(shard, &queues).await,
        }
    }

    async fn lock(&mut self, shard: &str, queues: &[u32]) -> Result<(), Lost> {
        let asked = self.world.runtime.now();
        let command = Command::request(request_code::LOCK_BATCH_MQ, 0);
        let wanted = body::encode(&self.request(shard, queues));
        let (answer, body) = self.call(shard, command, &wanted).await?;
        if answer.code != response_code::SUCCESS {
            self.tell(&answer);
            return Ok(());
        }
        let locked: LockAnswer = body::decode(&body).expect("a broker sends lists");
        let now = self.world.runtime.now();
        let mut oracle = self.world.oracle.borrow_mut();
        for queue in queues {
            if locked.queues.contains(&self.name_of(shard, *queue)) {
                let id = self.id_of(*queue);
                oracle.locked(&self.group, id, &self.id, (asked, now), TERM);
            }
        }
        Ok(())
    }

    async fn unlock(&mut self, shard: &str, queues: &[u32]) -> Result<(), Lost> {
        for queue in queues {
            let id = self.id_of(*queue);
            let mut oracle = self.world.oracle.borrow_mut();
            oracle.unlock_asked(&self.group, id, &self.id);
        }
        let command = Command::request(request_code::UNLOCK_BATCH_MQ, 0);
        let given = body::encode(&self.request(shard, queues));
        let answered = self.call(shard, command, &given).await;
        if answered.is_ok() {
            for queue in queues {
                let id = self.id_of(*queue);
                let mut oracle = self.world.oracle.borrow_mut();
                oracle.unlock_answered(&self.group, id, &self.id);
            }
        }
        answered.map(|_| ())
    }

    fn request(&self, shard: &str, queues: &[u32]) -> LockRequest {
        let named = queues.iter().map(|queue| self.name_of(shard, *queue));
        LockRequest {
            client_id: self.id.clone(),
            group: self.group.clone(),
            queues: named.collect(),
            only_this_broker: false,
        }
    }

    fn name_of(&self, shard: &str, queue: u32) -> MessageQueue {
        MessageQueue {
            broker_name: shard.to_owned(),
            queue_id: local_id(&self.topic, queue) as i32,
            topic: self.topic.name.clone(),
        }
    }
}
