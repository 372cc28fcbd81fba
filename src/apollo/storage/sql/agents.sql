-- name: set_agent
-- Registers an agent's route for an organisation, or replaces it; null: for all of them.
insert into agents (agent_id, organization_id, call_hook, application_sid, speech_synthesis,
                    speech_recognizer, updated_at)
values (:agent_id, :organization_id, :call_hook, :application_sid, :speech_synthesis,
        :speech_recognizer, :at)
on conflict (agent_id, organization_id) do update
   set call_hook = excluded.call_hook, application_sid = excluded.application_sid,
       speech_synthesis = excluded.speech_synthesis,
       speech_recognizer = excluded.speech_recognizer, updated_at = excluded.updated_at;

-- name: find_agent
-- The route of the agent that an organisation means: its own, else the shared one.
select agent_id, organization_id, call_hook, application_sid, speech_synthesis, speech_recognizer,
       updated_at
  from agent_of(:agent_id, :organization_id);

-- name: list_agents
-- Every registered agent.
select agent_id, organization_id, call_hook, application_sid, speech_synthesis, speech_recognizer,
       updated_at
  from agents
 order by agent_id, organization_id nulls first;

-- name: list_agents_of
-- The agents that an organisation can use: its own, and the shared ones that it has no own for.
select f.agent_id, f.organization_id, f.call_hook, f.application_sid, f.speech_synthesis,
       f.speech_recognizer, f.updated_at
  from (select distinct agent_id
          from agents
         where organization_id = :organization_id or organization_id is null) as n
 cross join lateral agent_of(n.agent_id, :organization_id) f
 order by f.agent_id
offset :skip::bigint limit :at_most::bigint;

-- name: list_organizations
-- Every organisation.
select id from organizations order by id;

-- name: allow_caller_ids
-- Gives numbers to an organisation alone; those of another one stay with it.
insert into caller_ids (phone_number, organization_id)
select n.phone_number, :organization_id
  from unnest(:phone_numbers::text[]) as n (phone_number)
on conflict (phone_number) do nothing;

-- name: drop_caller_ids
-- Takes every number from an organisation.
delete from caller_ids where organization_id = :organization_id;

-- name: list_caller_ids
-- The numbers that organisations may call from.
select organization_id, phone_number from caller_ids order by organization_id, phone_number;

-- name: find_foreign_caller_ids
-- Which of these numbers an organisation may not call from: those of another one, and all that it
-- was not given if it was given any.
select n.phone_number
  from unnest(:phone_numbers::text[]) as n (phone_number)
  left join caller_ids c on c.phone_number = n.phone_number
 where c.organization_id <> :organization_id
    or (c.organization_id is null
        and exists (select from caller_ids o where o.organization_id = :organization_id));

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
