-- The product database: a logistics CRM, as the default target of rehearsals and of the demo.
--
-- Plain SQL for PostgreSQL 15 and later. Apply it to an empty database, or to an empty schema named
-- first in search_path; no statement names a schema. Sent as one query it is one transaction: on a
-- database that has these tables already it fails at its first statement and changes nothing.
--
-- Rules every migratable table keeps:
--   * id            bigint identity, made by the database and never written by anyone
--   * tenant_id     whose row it is; uniqueness is always per tenant
--   * external_id   the record's name in the system it came from; null for records born here.
--                   UNIQUE (tenant_id, external_id) is the key a migration matches by
--   * source_created_at   when the record came to be in the system it came from
--   * created_at, updated_at   the product's own, kept by the product
-- Line tables (quote_items, shipment_legs …) keep the same rules, so each line can be traced as well.

CREATE TYPE account_type AS ENUM ('prospect', 'customer', 'partner', 'carrier', 'vendor', 'competitor', 'other');
CREATE TYPE account_status AS ENUM ('active', 'inactive', 'blocked');
CREATE TYPE lead_status AS ENUM ('new', 'contacted', 'qualified', 'unqualified', 'converted');
CREATE TYPE opportunity_stage AS ENUM
    ('prospecting', 'qualification', 'proposal', 'negotiation', 'closed_won', 'closed_lost');
CREATE TYPE activity_kind AS ENUM ('task', 'call', 'meeting', 'email', 'note');
CREATE TYPE activity_status AS ENUM ('open', 'in_progress', 'completed', 'cancelled');
CREATE TYPE priority AS ENUM ('low', 'normal', 'high', 'urgent');
CREATE TYPE ticket_status AS ENUM ('new', 'open', 'pending', 'solved', 'closed');
CREATE TYPE quote_status AS ENUM ('draft', 'sent', 'accepted', 'declined', 'expired');
CREATE TYPE transport_mode AS ENUM ('air', 'ocean', 'road', 'rail', 'parcel');
CREATE TYPE location_kind AS ENUM ('port', 'airport', 'rail_terminal', 'warehouse', 'depot', 'address');
CREATE TYPE shipment_status AS ENUM
    ('booked', 'picked_up', 'in_transit', 'customs', 'out_for_delivery', 'delivered', 'cancelled');
CREATE TYPE container_kind AS ENUM ('20gp', '40gp', '40hc', '45hc', '20rf', '40rf', '20ot', '40ot', 'lcl');
CREATE TYPE invoice_status AS ENUM ('draft', 'issued', 'part_paid', 'paid', 'overdue', 'void');
CREATE TYPE customs_kind AS ENUM ('import', 'export', 'transit', 'certificate_of_origin', 'licence');
CREATE TYPE customs_status AS ENUM ('draft', 'submitted', 'cleared', 'held', 'refused');
CREATE TYPE document_kind AS ENUM
    ('bill_of_lading', 'air_waybill', 'packing_list', 'invoice', 'proof_of_delivery', 'contract', 'image', 'other');

-- ---------------------------------------------------------------------------------------------------
-- Whose data it is
-- ---------------------------------------------------------------------------------------------------

CREATE TABLE tenants (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug varchar(63) NOT NULL,
    name varchar(255) NOT NULL,
    default_currency char(3) NOT NULL DEFAULT 'USD',
    time_zone varchar(64) NOT NULL DEFAULT 'UTC',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenants_slug_key UNIQUE (slug),
    CONSTRAINT tenants_slug_check CHECK (slug ~ '^[a-z0-9][a-z0-9-]*$'),
    CONSTRAINT tenants_default_currency_check CHECK (default_currency ~ '^[A-Z]{3}$')
);

CREATE TABLE franchises (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    code varchar(20) NOT NULL,
    name varchar(255) NOT NULL,
    address jsonb,
    phone varchar(40),
    email varchar(254),
    is_active boolean NOT NULL DEFAULT true,
    source_created_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT franchises_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT franchises_code_key UNIQUE (tenant_id, code)
);

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    email varchar(254) NOT NULL,
    username varchar(150),
    first_name varchar(80),
    last_name varchar(120) NOT NULL,
    title varchar(128),
    department varchar(80),
    phone varchar(40),
    mobile varchar(40),
    time_zone varchar(64),
    locale varchar(16),
    -- People who left keep their records; such users come along switched off.
    active boolean NOT NULL DEFAULT true,
    franchise_id bigint REFERENCES franchises (id),
    manager_id bigint REFERENCES users (id),
    last_login_at timestamptz,
    source_created_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT users_email_key UNIQUE (tenant_id, email),
    CONSTRAINT users_email_check CHECK (email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
    CONSTRAINT users_manager_check CHECK (manager_id <> id)
);
CREATE INDEX users_franchise_id_idx ON users (franchise_id);
CREATE INDEX users_manager_id_idx ON users (manager_id);

-- ---------------------------------------------------------------------------------------------------
-- Customers and selling
-- ---------------------------------------------------------------------------------------------------

CREATE TABLE accounts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    name varchar(255) NOT NULL,
    account_number varchar(40),
    type account_type,
    status account_status NOT NULL DEFAULT 'active',
    industry varchar(120),
    phone varchar(40),
    fax varchar(40),
    email varchar(254),
    website varchar(255),
    billing_address jsonb,
    shipping_address jsonb,
    annual_revenue numeric(18, 2),
    currency char(3),
    employees integer,
    rating varchar(40),
    lead_source varchar(80),
    description text,
    tags text[],
    owner_id bigint REFERENCES users (id),
    parent_id bigint REFERENCES accounts (id),
    franchise_id bigint REFERENCES franchises (id),
    custom_fields jsonb,
    source_created_at timestamptz,
    source_updated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT accounts_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT accounts_name_check CHECK (name <> ''),
    CONSTRAINT accounts_annual_revenue_check CHECK (annual_revenue >= 0),
    CONSTRAINT accounts_employees_check CHECK (employees >= 0),
    CONSTRAINT accounts_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    -- An address is an object (street, city, region, postal_code, country …), never a bare text or list.
    CONSTRAINT accounts_billing_address_check CHECK (jsonb_typeof(billing_address) = 'object'),
    CONSTRAINT accounts_shipping_address_check CHECK (jsonb_typeof(shipping_address) = 'object'),
    CONSTRAINT accounts_parent_check CHECK (parent_id <> id)
);
CREATE INDEX accounts_name_idx ON accounts (tenant_id, lower(name));
CREATE INDEX accounts_owner_id_idx ON accounts (owner_id);
CREATE INDEX accounts_parent_id_idx ON accounts (parent_id);
CREATE INDEX accounts_franchise_id_idx ON accounts (franchise_id) WHERE franchise_id IS NOT NULL;
CREATE INDEX accounts_email_idx ON accounts (tenant_id, lower(email)) WHERE email IS NOT NULL;

CREATE TABLE contacts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    account_id bigint REFERENCES accounts (id),
    owner_id bigint REFERENCES users (id),
    reports_to_id bigint REFERENCES contacts (id),
    salutation varchar(40),
    first_name varchar(80),
    last_name varchar(120) NOT NULL,
    email varchar(254),
    phone varchar(40),
    mobile varchar(40),
    fax varchar(40),
    title varchar(128),
    department varchar(120),
    birth_date date,
    mailing_address jsonb,
    other_address jsonb,
    lead_source varchar(80),
    do_not_call boolean NOT NULL DEFAULT false,
    email_opt_out boolean NOT NULL DEFAULT false,
    description text,
    tags text[],
    custom_fields jsonb,
    source_created_at timestamptz,
    source_updated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT contacts_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT contacts_last_name_check CHECK (last_name <> ''),
    CONSTRAINT contacts_email_check CHECK (email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
    CONSTRAINT contacts_mailing_address_check CHECK (jsonb_typeof(mailing_address) = 'object'),
    CONSTRAINT contacts_other_address_check CHECK (jsonb_typeof(other_address) = 'object'),
    CONSTRAINT contacts_reports_to_check CHECK (reports_to_id <> id)
);
CREATE INDEX contacts_account_id_idx ON contacts (account_id);
CREATE INDEX contacts_owner_id_idx ON contacts (owner_id);
CREATE INDEX contacts_reports_to_id_idx ON contacts (reports_to_id) WHERE reports_to_id IS NOT NULL;
CREATE INDEX contacts_name_idx ON contacts (tenant_id, lower(last_name), lower(first_name));
CREATE INDEX contacts_email_idx ON contacts (tenant_id, lower(email)) WHERE email IS NOT NULL;

CREATE TABLE opportunities (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    account_id bigint REFERENCES accounts (id),
    contact_id bigint REFERENCES contacts (id),
    owner_id bigint REFERENCES users (id),
    name varchar(255) NOT NULL,
    stage opportunity_stage NOT NULL DEFAULT 'prospecting',
    amount numeric(18, 2),
    currency char(3),
    probability numeric(5, 2),
    close_date date,
    type varchar(80),
    lead_source varchar(80),
    next_step varchar(255),
    loss_reason varchar(255),
    description text,
    tags text[],
    custom_fields jsonb,
    source_created_at timestamptz,
    source_updated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT opportunities_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT opportunities_name_check CHECK (name <> ''),
    CONSTRAINT opportunities_amount_check CHECK (amount >= 0),
    -- A deal from the last century or due in the next is a typing error.
    CONSTRAINT opportunities_close_date_check CHECK (close_date BETWEEN '1990-01-01' AND '2100-12-31'),
    CONSTRAINT opportunities_probability_check CHECK (probability BETWEEN 0 AND 100),
    CONSTRAINT opportunities_currency_check CHECK (currency ~ '^[A-Z]{3}$')
);
CREATE INDEX opportunities_account_id_idx ON opportunities (account_id);
CREATE INDEX opportunities_contact_id_idx ON opportunities (contact_id);
CREATE INDEX opportunities_owner_id_idx ON opportunities (owner_id);
CREATE INDEX opportunities_stage_idx ON opportunities (tenant_id, stage, close_date);
CREATE INDEX opportunities_name_idx ON opportunities (tenant_id, lower(name));

CREATE TABLE leads (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    owner_id bigint REFERENCES users (id),
    salutation varchar(40),
    first_name varchar(80),
    last_name varchar(120) NOT NULL,
    company varchar(255) NOT NULL,
    title varchar(128),
    status lead_status NOT NULL DEFAULT 'new',
    rating varchar(40),
    lead_source varchar(80),
    industry varchar(120),
    email varchar(254),
    phone varchar(40),
    mobile varchar(40),
    website varchar(255),
    address jsonb,
    annual_revenue numeric(18, 2),
    currency char(3),
    employees integer,
    do_not_call boolean NOT NULL DEFAULT false,
    email_opt_out boolean NOT NULL DEFAULT false,
    description text,
    tags text[],
    converted_at timestamptz,
    converted_account_id bigint REFERENCES accounts (id),
    converted_contact_id bigint REFERENCES contacts (id),
    converted_opportunity_id bigint REFERENCES opportunities (id),
    custom_fields jsonb,
    source_created_at timestamptz,
    source_updated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT leads_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT leads_last_name_check CHECK (last_name <> ''),
    CONSTRAINT leads_company_check CHECK (company <> ''),
    CONSTRAINT leads_email_check CHECK (email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
    CONSTRAINT leads_annual_revenue_check CHECK (annual_revenue >= 0),
    CONSTRAINT leads_employees_check CHECK (employees >= 0),
    CONSTRAINT leads_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT leads_address_check CHECK (jsonb_typeof(address) = 'object'),
    -- What a lead became is only told of leads that became something.
    CONSTRAINT leads_converted_check CHECK (
        status = 'converted'
        OR (converted_at IS NULL AND converted_account_id IS NULL
            AND converted_contact_id IS NULL AND converted_opportunity_id IS NULL)
    )
);
CREATE INDEX leads_owner_id_idx ON leads (owner_id);
CREATE INDEX leads_status_idx ON leads (tenant_id, status);
CREATE INDEX leads_name_idx ON leads (tenant_id, lower(last_name), lower(first_name));
CREATE INDEX leads_company_idx ON leads (tenant_id, lower(company));
CREATE INDEX leads_email_idx ON leads (tenant_id, lower(email)) WHERE email IS NOT NULL;
CREATE INDEX leads_converted_account_id_idx ON leads (converted_account_id) WHERE converted_account_id IS NOT NULL;
CREATE INDEX leads_converted_contact_id_idx ON leads (converted_contact_id) WHERE converted_contact_id IS NOT NULL;
CREATE INDEX leads_converted_opportunity_id_idx
    ON leads (converted_opportunity_id) WHERE converted_opportunity_id IS NOT NULL;

-- Tasks, calls, meetings, e-mails and notes in one table. What an activity is about is told by columns,
-- one per kind of thing, so that the database can hold the references; an activity about nothing is
-- allowed (a private reminder), about several things too (a call with a contact on an opportunity).
CREATE TABLE activities (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    kind activity_kind NOT NULL,
    status activity_status NOT NULL DEFAULT 'open',
    priority priority,
    subject varchar(255) NOT NULL,
    body text,
    due_date date,
    starts_at timestamptz,
    ends_at timestamptz,
    completed_at timestamptz,
    duration_minutes integer,
    all_day boolean NOT NULL DEFAULT false,
    place varchar(255),
    call_direction varchar(16),
    call_result varchar(255),
    owner_id bigint REFERENCES users (id),
    account_id bigint REFERENCES accounts (id),
    contact_id bigint REFERENCES contacts (id),
    lead_id bigint REFERENCES leads (id),
    opportunity_id bigint REFERENCES opportunities (id),
    custom_fields jsonb,
    source_created_at timestamptz,
    source_updated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT activities_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT activities_duration_check CHECK (duration_minutes >= 0),
    CONSTRAINT activities_ends_check CHECK (ends_at >= starts_at),
    CONSTRAINT activities_call_direction_check CHECK (call_direction IN ('inbound', 'outbound', 'internal'))
);
CREATE INDEX activities_owner_id_idx ON activities (owner_id);
CREATE INDEX activities_account_id_idx ON activities (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX activities_contact_id_idx ON activities (contact_id) WHERE contact_id IS NOT NULL;
CREATE INDEX activities_lead_id_idx ON activities (lead_id) WHERE lead_id IS NOT NULL;
CREATE INDEX activities_opportunity_id_idx ON activities (opportunity_id) WHERE opportunity_id IS NOT NULL;
CREATE INDEX activities_due_date_idx ON activities (tenant_id, status, due_date);

CREATE TABLE tickets (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    number varchar(40),
    account_id bigint REFERENCES accounts (id),
    contact_id bigint REFERENCES contacts (id),
    owner_id bigint REFERENCES users (id),
    parent_id bigint REFERENCES tickets (id),
    subject varchar(255) NOT NULL,
    body text,
    status ticket_status NOT NULL DEFAULT 'new',
    priority priority NOT NULL DEFAULT 'normal',
    origin varchar(80),
    type varchar(80),
    resolution text,
    closed_at timestamptz,
    tags text[],
    custom_fields jsonb,
    source_created_at timestamptz,
    source_updated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tickets_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT tickets_number_key UNIQUE (tenant_id, number),
    CONSTRAINT tickets_parent_check CHECK (parent_id <> id)
);
CREATE INDEX tickets_account_id_idx ON tickets (account_id);
CREATE INDEX tickets_contact_id_idx ON tickets (contact_id);
CREATE INDEX tickets_owner_id_idx ON tickets (owner_id);
CREATE INDEX tickets_parent_id_idx ON tickets (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX tickets_status_idx ON tickets (tenant_id, status, priority);

CREATE TABLE products (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    sku varchar(80) NOT NULL,
    name varchar(255) NOT NULL,
    family varchar(120),
    description text,
    unit varchar(40),
    unit_price numeric(18, 4),
    currency char(3),
    weight_kg numeric(12, 3),
    hs_code varchar(12),
    is_active boolean NOT NULL DEFAULT true,
    custom_fields jsonb,
    source_created_at timestamptz,
    source_updated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT products_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT products_sku_key UNIQUE (tenant_id, sku),
    CONSTRAINT products_unit_price_check CHECK (unit_price >= 0),
    CONSTRAINT products_weight_kg_check CHECK (weight_kg >= 0),
    CONSTRAINT products_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT products_hs_code_check CHECK (hs_code ~ '^[0-9]{4,10}$')
);
CREATE INDEX products_name_idx ON products (tenant_id, lower(name));
CREATE INDEX products_family_idx ON products (tenant_id, family);

-- ---------------------------------------------------------------------------------------------------
-- Quoting
-- ---------------------------------------------------------------------------------------------------

CREATE TABLE locations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    kind location_kind NOT NULL DEFAULT 'address',
    -- UN/LOCODE: two letters of country, three letters or digits 2-9.
    unlocode char(5),
    iata_code char(3),
    name varchar(255) NOT NULL,
    address jsonb,
    latitude numeric(9, 6),
    longitude numeric(9, 6),
    time_zone varchar(64),
    account_id bigint REFERENCES accounts (id),
    source_created_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT locations_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT locations_unlocode_check CHECK (unlocode ~ '^[A-Z]{2}[A-Z2-9]{3}$'),
    CONSTRAINT locations_iata_code_check CHECK (iata_code ~ '^[A-Z]{3}$'),
    CONSTRAINT locations_latitude_check CHECK (latitude BETWEEN -90 AND 90),
    CONSTRAINT locations_longitude_check CHECK (longitude BETWEEN -180 AND 180),
    CONSTRAINT locations_address_check CHECK (jsonb_typeof(address) = 'object')
);
CREATE INDEX locations_unlocode_idx ON locations (tenant_id, unlocode) WHERE unlocode IS NOT NULL;
CREATE INDEX locations_account_id_idx ON locations (account_id) WHERE account_id IS NOT NULL;

CREATE TABLE quotes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    number varchar(40) NOT NULL,
    opportunity_id bigint REFERENCES opportunities (id),
    account_id bigint REFERENCES accounts (id),
    contact_id bigint REFERENCES contacts (id),
    owner_id bigint REFERENCES users (id),
    status quote_status NOT NULL DEFAULT 'draft',
    mode transport_mode,
    incoterm char(3),
    currency char(3) NOT NULL,
    subtotal numeric(18, 2),
    tax numeric(18, 2),
    total numeric(18, 2),
    valid_from date,
    valid_until date,
    terms text,
    custom_fields jsonb,
    source_created_at timestamptz,
    source_updated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT quotes_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT quotes_number_key UNIQUE (tenant_id, number),
    CONSTRAINT quotes_total_check CHECK (total >= 0),
    CONSTRAINT quotes_valid_check CHECK (valid_until >= valid_from),
    CONSTRAINT quotes_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    -- Incoterms 2020.
    CONSTRAINT quotes_incoterm_check CHECK
        (incoterm IN ('EXW', 'FCA', 'FAS', 'FOB', 'CFR', 'CIF', 'CPT', 'CIP', 'DAP', 'DPU', 'DDP'))
);
CREATE INDEX quotes_opportunity_id_idx ON quotes (opportunity_id);
CREATE INDEX quotes_account_id_idx ON quotes (account_id);
CREATE INDEX quotes_contact_id_idx ON quotes (contact_id);
CREATE INDEX quotes_owner_id_idx ON quotes (owner_id);
CREATE INDEX quotes_status_idx ON quotes (tenant_id, status, valid_until);

CREATE TABLE quote_items (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    quote_id bigint NOT NULL REFERENCES quotes (id) ON DELETE CASCADE,
    product_id bigint REFERENCES products (id),
    line_number integer NOT NULL,
    description varchar(255),
    quantity numeric(14, 3) NOT NULL DEFAULT 1,
    unit_price numeric(18, 4) NOT NULL,
    discount_percent numeric(5, 2),
    total numeric(18, 2),
    source_created_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT quote_items_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT quote_items_line_number_key UNIQUE (quote_id, line_number),
    CONSTRAINT quote_items_quantity_check CHECK (quantity > 0),
    CONSTRAINT quote_items_discount_check CHECK (discount_percent BETWEEN 0 AND 100)
);
CREATE INDEX quote_items_product_id_idx ON quote_items (product_id);

CREATE TABLE quote_legs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    quote_id bigint NOT NULL REFERENCES quotes (id) ON DELETE CASCADE,
    sequence integer NOT NULL,
    mode transport_mode NOT NULL,
    origin_id bigint REFERENCES locations (id),
    destination_id bigint REFERENCES locations (id),
    carrier_id bigint REFERENCES accounts (id),
    transit_days integer,
    rate numeric(18, 4),
    rate_basis varchar(40),
    source_created_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT quote_legs_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT quote_legs_sequence_key UNIQUE (quote_id, sequence),
    CONSTRAINT quote_legs_transit_days_check CHECK (transit_days >= 0),
    CONSTRAINT quote_legs_rate_check CHECK (rate >= 0),
    CONSTRAINT quote_legs_ends_check CHECK (origin_id <> destination_id)
);
CREATE INDEX quote_legs_origin_id_idx ON quote_legs (origin_id);
CREATE INDEX quote_legs_destination_id_idx ON quote_legs (destination_id);
CREATE INDEX quote_legs_carrier_id_idx ON quote_legs (carrier_id);

-- ---------------------------------------------------------------------------------------------------
-- Moving goods
-- ---------------------------------------------------------------------------------------------------

CREATE TABLE shipments (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    number varchar(40) NOT NULL,
    tracking_number varchar(80),
    quote_id bigint REFERENCES quotes (id),
    shipper_id bigint REFERENCES accounts (id),
    consignee_id bigint REFERENCES accounts (id),
    carrier_id bigint REFERENCES accounts (id),
    owner_id bigint REFERENCES users (id),
    origin_id bigint REFERENCES locations (id),
    destination_id bigint REFERENCES locations (id),
    mode transport_mode NOT NULL,
    status shipment_status NOT NULL DEFAULT 'booked',
    incoterm char(3),
    ship_from jsonb,
    ship_to jsonb,
    pieces integer,
    gross_weight_kg numeric(14, 3),
    volume_m3 numeric(14, 4),
    declared_value numeric(18, 2),
    currency char(3),
    picked_up_at timestamptz,
    estimated_arrival_at timestamptz,
    delivered_at timestamptz,
    delivery_window_from time,
    delivery_window_until time,
    notes text,
    custom_fields jsonb,
    source_created_at timestamptz,
    source_updated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT shipments_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT shipments_number_key UNIQUE (tenant_id, number),
    CONSTRAINT shipments_pieces_check CHECK (pieces > 0),
    CONSTRAINT shipments_gross_weight_check CHECK (gross_weight_kg >= 0),
    CONSTRAINT shipments_volume_check CHECK (volume_m3 >= 0),
    CONSTRAINT shipments_declared_value_check CHECK (declared_value >= 0),
    CONSTRAINT shipments_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT shipments_delivered_check CHECK (delivered_at >= picked_up_at)
);
CREATE INDEX shipments_tracking_number_idx
    ON shipments (tenant_id, tracking_number) WHERE tracking_number IS NOT NULL;
CREATE INDEX shipments_quote_id_idx ON shipments (quote_id) WHERE quote_id IS NOT NULL;
CREATE INDEX shipments_shipper_id_idx ON shipments (shipper_id);
CREATE INDEX shipments_consignee_id_idx ON shipments (consignee_id);
CREATE INDEX shipments_carrier_id_idx ON shipments (carrier_id);
CREATE INDEX shipments_owner_id_idx ON shipments (owner_id);
CREATE INDEX shipments_origin_id_idx ON shipments (origin_id);
CREATE INDEX shipments_destination_id_idx ON shipments (destination_id);
CREATE INDEX shipments_status_idx ON shipments (tenant_id, status);

CREATE TABLE shipment_legs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    shipment_id bigint NOT NULL REFERENCES shipments (id) ON DELETE CASCADE,
    sequence integer NOT NULL,
    mode transport_mode NOT NULL,
    carrier_id bigint REFERENCES accounts (id),
    origin_id bigint REFERENCES locations (id),
    destination_id bigint REFERENCES locations (id),
    vessel_or_flight varchar(80),
    voyage_number varchar(40),
    departs_at timestamptz,
    arrives_at timestamptz,
    source_created_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT shipment_legs_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT shipment_legs_sequence_key UNIQUE (shipment_id, sequence),
    CONSTRAINT shipment_legs_arrives_check CHECK (arrives_at >= departs_at)
);
CREATE INDEX shipment_legs_carrier_id_idx ON shipment_legs (carrier_id);
CREATE INDEX shipment_legs_origin_id_idx ON shipment_legs (origin_id);
CREATE INDEX shipment_legs_destination_id_idx ON shipment_legs (destination_id);

CREATE TABLE shipment_containers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    shipment_id bigint NOT NULL REFERENCES shipments (id) ON DELETE CASCADE,
    -- ISO 6346: owner code, category, six digits and the check digit.
    number varchar(11),
    kind container_kind NOT NULL,
    seal_number varchar(40),
    tare_weight_kg numeric(12, 3),
    gross_weight_kg numeric(14, 3),
    temperature_c numeric(5, 2),
    source_created_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT shipment_containers_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT shipment_containers_number_key UNIQUE (shipment_id, number),
    CONSTRAINT shipment_containers_number_check CHECK (number ~ '^[A-Z]{3}[UJZ][0-9]{7}$'),
    CONSTRAINT shipment_containers_weight_check CHECK (gross_weight_kg >= 0 AND tare_weight_kg >= 0)
);

CREATE TABLE packages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    shipment_id bigint NOT NULL REFERENCES shipments (id) ON DELETE CASCADE,
    container_id bigint REFERENCES shipment_containers (id) ON DELETE SET NULL,
    product_id bigint REFERENCES products (id),
    tracking_number varchar(80),
    kind varchar(40),
    quantity integer NOT NULL DEFAULT 1,
    length_cm numeric(10, 2),
    width_cm numeric(10, 2),
    height_cm numeric(10, 2),
    weight_kg numeric(12, 3),
    contents varchar(255),
    is_hazardous boolean NOT NULL DEFAULT false,
    un_number char(4),
    source_created_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT packages_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT packages_quantity_check CHECK (quantity > 0),
    CONSTRAINT packages_size_check CHECK (length_cm > 0 AND width_cm > 0 AND height_cm > 0),
    CONSTRAINT packages_weight_check CHECK (weight_kg >= 0),
    CONSTRAINT packages_un_number_check CHECK (un_number ~ '^[0-9]{4}$')
);
CREATE INDEX packages_shipment_id_idx ON packages (shipment_id);
CREATE INDEX packages_container_id_idx ON packages (container_id) WHERE container_id IS NOT NULL;
CREATE INDEX packages_product_id_idx ON packages (product_id) WHERE product_id IS NOT NULL;
CREATE INDEX packages_tracking_number_idx
    ON packages (tenant_id, tracking_number) WHERE tracking_number IS NOT NULL;

CREATE TABLE customs_documents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    shipment_id bigint NOT NULL REFERENCES shipments (id),
    kind customs_kind NOT NULL,
    status customs_status NOT NULL DEFAULT 'draft',
    -- Movement reference number: two digits of year, two letters of country, fourteen more.
    mrn varchar(18),
    declarant_id bigint REFERENCES accounts (id),
    office_code varchar(8),
    goods_description text,
    hs_codes text[],
    statistical_value numeric(18, 2),
    duties numeric(18, 2),
    currency char(3),
    submitted_at timestamptz,
    cleared_at timestamptz,
    source_created_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT customs_documents_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT customs_documents_mrn_key UNIQUE (tenant_id, mrn),
    CONSTRAINT customs_documents_mrn_check CHECK (mrn ~ '^[0-9]{2}[A-Z]{2}[A-Z0-9]{14}$'),
    CONSTRAINT customs_documents_duties_check CHECK (duties >= 0),
    CONSTRAINT customs_documents_cleared_check CHECK (cleared_at >= submitted_at)
);
CREATE INDEX customs_documents_shipment_id_idx ON customs_documents (shipment_id);
CREATE INDEX customs_documents_declarant_id_idx ON customs_documents (declarant_id);

-- ---------------------------------------------------------------------------------------------------
-- Money and papers
-- ---------------------------------------------------------------------------------------------------

CREATE TABLE invoices (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    number varchar(40) NOT NULL,
    account_id bigint NOT NULL REFERENCES accounts (id),
    shipment_id bigint REFERENCES shipments (id),
    quote_id bigint REFERENCES quotes (id),
    status invoice_status NOT NULL DEFAULT 'draft',
    issued_on date,
    due_on date,
    currency char(3) NOT NULL,
    subtotal numeric(18, 2) NOT NULL DEFAULT 0,
    tax numeric(18, 2) NOT NULL DEFAULT 0,
    total numeric(18, 2) NOT NULL DEFAULT 0,
    paid numeric(18, 2) NOT NULL DEFAULT 0,
    balance numeric(18, 2) GENERATED ALWAYS AS (total - paid) STORED,
    billing_address jsonb,
    notes text,
    source_created_at timestamptz,
    source_updated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT invoices_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT invoices_number_key UNIQUE (tenant_id, number),
    -- Credit notes carry negative totals, so amounts are free; that the parts add up is not.
    CONSTRAINT invoices_total_check CHECK (total = subtotal + tax),
    CONSTRAINT invoices_due_check CHECK (due_on >= issued_on),
    CONSTRAINT invoices_currency_check CHECK (currency ~ '^[A-Z]{3}$')
);
CREATE INDEX invoices_account_id_idx ON invoices (account_id);
CREATE INDEX invoices_shipment_id_idx ON invoices (shipment_id);
CREATE INDEX invoices_quote_id_idx ON invoices (quote_id);
CREATE INDEX invoices_status_idx ON invoices (tenant_id, status, due_on);

CREATE TABLE invoice_lines (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    invoice_id bigint NOT NULL REFERENCES invoices (id) ON DELETE CASCADE,
    product_id bigint REFERENCES products (id),
    shipment_leg_id bigint REFERENCES shipment_legs (id),
    line_number integer NOT NULL,
    charge_code varchar(20),
    description varchar(255) NOT NULL,
    quantity numeric(14, 3) NOT NULL DEFAULT 1,
    unit_price numeric(18, 4) NOT NULL,
    tax_percent numeric(5, 2),
    total numeric(18, 2) NOT NULL,
    source_created_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT invoice_lines_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT invoice_lines_line_number_key UNIQUE (invoice_id, line_number),
    CONSTRAINT invoice_lines_tax_percent_check CHECK (tax_percent BETWEEN 0 AND 100)
);
CREATE INDEX invoice_lines_product_id_idx ON invoice_lines (product_id);
CREATE INDEX invoice_lines_shipment_leg_id_idx ON invoice_lines (shipment_leg_id);

-- A file's bytes live in the object store; a row says where and what of. Like an activity, a document
-- may belong to several things.
CREATE TABLE documents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    external_id text,
    kind document_kind NOT NULL DEFAULT 'other',
    name varchar(255) NOT NULL,
    media_type varchar(127),
    size_bytes bigint,
    sha256 char(64),
    storage_url varchar(2048),
    owner_id bigint REFERENCES users (id),
    account_id bigint REFERENCES accounts (id),
    contact_id bigint REFERENCES contacts (id),
    opportunity_id bigint REFERENCES opportunities (id),
    ticket_id bigint REFERENCES tickets (id),
    shipment_id bigint REFERENCES shipments (id),
    invoice_id bigint REFERENCES invoices (id),
    source_created_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT documents_external_id_key UNIQUE (tenant_id, external_id),
    CONSTRAINT documents_size_check CHECK (size_bytes >= 0),
    CONSTRAINT documents_sha256_check CHECK (sha256 ~ '^[0-9a-f]{64}$')
);
CREATE INDEX documents_account_id_idx ON documents (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX documents_contact_id_idx ON documents (contact_id) WHERE contact_id IS NOT NULL;
CREATE INDEX documents_opportunity_id_idx ON documents (opportunity_id) WHERE opportunity_id IS NOT NULL;
CREATE INDEX documents_ticket_id_idx ON documents (ticket_id) WHERE ticket_id IS NOT NULL;
CREATE INDEX documents_shipment_id_idx ON documents (shipment_id) WHERE shipment_id IS NOT NULL;
CREATE INDEX documents_invoice_id_idx ON documents (invoice_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX documents_owner_id_idx ON documents (owner_id);
