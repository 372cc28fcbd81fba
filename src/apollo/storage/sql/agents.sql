-- name: set_agent
-- Registers an agent's route, or replaces it.
insert into agents (agent_id, call_hook, application_sid, speech_synthesis, speech_recognizer,
                    updated_at)
values (:agent_id, :call_hook, :application_sid, :speech_synthesis, :speech_recognizer, :at)
on conflict (agent_id) do update
   set call_hook = excluded.call_hook, application_sid = excluded.application_sid,
       speech_synthesis = excluded.speech_synthesis,
       speech_recognizer = excluded.speech_recognizer, updated_at = excluded.updated_at;

-- name: find_agent
-- One agent's route.
select agent_id, call_hook, application_sid, speech_synthesis, speech_recognizer, updated_at
  from agents
 where agent_id = :agent_id;

-- name: list_agents
-- Every registered agent.
select agent_id, call_hook, application_sid, speech_synthesis, speech_recognizer, updated_at
  from agents
 order by agent_id;

-- name: read_agent_call
-- Whom a call is for; nothing once it was released, or ended before `since`.
select o.id, o.batch_id, o.position, o.campaign_id, o.phone_number, o.from_number, o.attempt,
       o.kind, c.agent_id, c.default_call_variables, n.call_variables, b.call_context
  from calls o
  join campaigns c on c.id = o.campaign_id
  join batches b on b.id = o.batch_id
  join contacts n on n.batch_id = o.batch_id and n.position = o.position
 where o.id = :call_id
   and o.state <> 'released'
   and (o.ended_at is null or o.ended_at > clock_timestamp() - :readable_for::interval);

-- name: keep_agent_key_secret
-- Makes the installation's row on first use.
insert into installation (agent_key_secret) values (:fresh)
on conflict do nothing;

-- name: read_agent_key_secret
-- The secret that the keys of voice applications are made from.
select agent_key_secret from installation;
