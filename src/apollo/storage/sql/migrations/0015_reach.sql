-- Whom a campaign may call. Null in allowed_countries: the countries of its caller ids.
alter table campaigns
  add column allowed_countries text[] check (cardinality(allowed_countries) > 0),
  add column allowed_number_types text[] not null default '{}';

-- Campaigns that exist go on calling wherever they did; a new one says where.
update campaigns set allowed_countries = '{*}';

-- A view has the columns that its table had when it was made.
drop view shown_campaigns;
create view shown_campaigns as
select c.*,
       case when c.cancelled_at is not null then 'cancelled'
            when exists (select from batches b
                          where b.campaign_id = c.id
                            and b.status in ('pending', 'in_progress', 'paused'))
              then case when c.paused_at is null then 'active' else 'paused' end
            when exists (select from batches b where b.campaign_id = c.id) then 'completed'
            when c.paused_at is not null then 'paused'
            else 'draft'
       end as status,
       (select coalesce(sum(k.calls), 0)::bigint from call_counters k
         where k.campaign_id = c.id and k.counted = 'completed') as completed_calls,
       (select coalesce(sum(k.calls), 0)::bigint from call_counters k
         where k.campaign_id = c.id and k.counted = 'failed') as failed_calls,
       (select coalesce(sum(k.calls), 0)::bigint from call_counters k
         where k.campaign_id = c.id and k.counted = 'busy') as busy_calls,
       (select coalesce(sum(k.calls), 0)::bigint from call_counters k
         where k.campaign_id = c.id and k.counted = 'no_answer') as no_answer_calls,
       (select coalesce(sum(k.calls), 0)::bigint from call_counters k
         where k.campaign_id = c.id and k.counted = 'voicemail') as voicemail_calls,
       (select coalesce(sum(k.calls), 0)::bigint from call_counters k
         where k.campaign_id = c.id and k.counted = 'follow_up') as follow_up_calls
  from campaigns c
 where c.deleted_at is null;
