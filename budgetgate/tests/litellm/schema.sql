-- Tables of a LiteLLM proxy database (1.106.2) that an import reads or counts: their names, columns and types.

CREATE TABLE "LiteLLM_BudgetTable" (
    "budget_id" text NOT NULL PRIMARY KEY,
    "max_budget" double precision,
    "soft_budget" double precision,
    "max_parallel_requests" integer,
    "tpm_limit" bigint,
    "rpm_limit" bigint,
    "tpd_limit" bigint,
    "model_max_budget" jsonb,
    "budget_duration" text,
    "budget_reset_at" timestamp(3),
    "allowed_models" text[] DEFAULT '{}',
    "temp_budget_increase" double precision,
    "temp_budget_expiry" timestamp(3),
    "created_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "created_by" text NOT NULL,
    "updated_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_by" text NOT NULL
);

CREATE TABLE "LiteLLM_ProxyModelTable" (
    "model_id" text NOT NULL PRIMARY KEY,
    "model_name" text NOT NULL,
    "litellm_params" jsonb NOT NULL,
    "model_info" jsonb,
    "blocked" boolean NOT NULL DEFAULT false,
    "created_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "created_by" text NOT NULL,
    "updated_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_by" text NOT NULL
);

CREATE TABLE "LiteLLM_OrganizationTable" (
    "organization_id" text NOT NULL PRIMARY KEY,
    "organization_alias" text NOT NULL,
    "budget_id" text NOT NULL,
    "metadata" jsonb NOT NULL DEFAULT '{}',
    "models" text[],
    "spend" double precision NOT NULL DEFAULT 0.0,
    "model_spend" jsonb NOT NULL DEFAULT '{}',
    "object_permission_id" text,
    "created_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "created_by" text NOT NULL,
    "updated_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_by" text NOT NULL
);

CREATE TABLE "LiteLLM_ModelTable" (
    "id" serial PRIMARY KEY,
    "aliases" jsonb,
    "created_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "created_by" text NOT NULL,
    "updated_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_by" text NOT NULL
);

CREATE TABLE "LiteLLM_TeamTable" (
    "team_id" text NOT NULL PRIMARY KEY,
    "team_alias" text,
    "organization_id" text,
    "object_permission_id" text,
    "admins" text[],
    "members" text[],
    "members_with_roles" jsonb NOT NULL DEFAULT '{}',
    "metadata" jsonb NOT NULL DEFAULT '{}',
    "max_budget" double precision,
    "soft_budget" double precision,
    "spend" double precision NOT NULL DEFAULT 0.0,
    "models" text[],
    "max_parallel_requests" integer,
    "tpm_limit" bigint,
    "rpm_limit" bigint,
    "tpd_limit" bigint,
    "budget_duration" text,
    "budget_reset_at" timestamp(3),
    "blocked" boolean NOT NULL DEFAULT false,
    "created_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "model_spend" jsonb NOT NULL DEFAULT '{}',
    "model_max_budget" jsonb NOT NULL DEFAULT '{}',
    "router_settings" jsonb DEFAULT '{}',
    "team_member_permissions" text[] DEFAULT '{}',
    "access_group_ids" text[] DEFAULT '{}',
    "policies" text[] DEFAULT '{}',
    "default_team_member_models" text[] DEFAULT '{}',
    "budget_limits" jsonb,
    "model_id" integer,
    "allow_team_guardrail_config" boolean NOT NULL DEFAULT false
);

CREATE TABLE "LiteLLM_UserTable" (
    "user_id" text NOT NULL PRIMARY KEY,
    "user_alias" text,
    "team_id" text,
    "sso_user_id" text,
    "organization_id" text,
    "object_permission_id" text,
    "password" text,
    "password_reset_required" boolean,
    "last_breach_check_at" timestamp(3),
    "teams" text[] DEFAULT '{}',
    "user_role" text,
    "max_budget" double precision,
    "spend" double precision NOT NULL DEFAULT 0.0,
    "user_email" text,
    "models" text[],
    "metadata" jsonb NOT NULL DEFAULT '{}',
    "max_parallel_requests" integer,
    "tpm_limit" bigint,
    "rpm_limit" bigint,
    "budget_duration" text,
    "budget_reset_at" timestamp(3),
    "allowed_cache_controls" text[] DEFAULT '{}',
    "policies" text[] DEFAULT '{}',
    "model_spend" jsonb NOT NULL DEFAULT '{}',
    "model_max_budget" jsonb NOT NULL DEFAULT '{}',
    "created_at" timestamp(3) DEFAULT CURRENT_TIMESTAMP,
    "updated_at" timestamp(3) DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE "LiteLLM_VerificationToken" (
    "token" text NOT NULL PRIMARY KEY,
    "key_name" text,
    "key_alias" text,
    "soft_budget_cooldown" boolean NOT NULL DEFAULT false,
    "spend" double precision NOT NULL DEFAULT 0.0,
    "total_spend" double precision NOT NULL DEFAULT 0.0,
    "expires" timestamp(3),
    "models" text[],
    "aliases" jsonb NOT NULL DEFAULT '{}',
    "config" jsonb NOT NULL DEFAULT '{}',
    "router_settings" jsonb DEFAULT '{}',
    "user_id" text,
    "team_id" text,
    "agent_id" text,
    "project_id" text,
    "permissions" jsonb NOT NULL DEFAULT '{}',
    "max_parallel_requests" integer,
    "metadata" jsonb NOT NULL DEFAULT '{}',
    "blocked" boolean,
    "tpm_limit" bigint,
    "rpm_limit" bigint,
    "tpd_limit" bigint,
    "max_budget" double precision,
    "budget_duration" text,
    "budget_reset_at" timestamp(3),
    "allowed_cache_controls" text[] DEFAULT '{}',
    "allowed_routes" text[] DEFAULT '{}',
    "key_type" text,
    "policies" text[] DEFAULT '{}',
    "access_group_ids" text[] DEFAULT '{}',
    "model_spend" jsonb NOT NULL DEFAULT '{}',
    "model_max_budget" jsonb NOT NULL DEFAULT '{}',
    "budget_fallbacks" jsonb NOT NULL DEFAULT '{}',
    "budget_id" text,
    "organization_id" text,
    "object_permission_id" text,
    "created_at" timestamp(3) DEFAULT CURRENT_TIMESTAMP,
    "created_by" text,
    "updated_at" timestamp(3) DEFAULT CURRENT_TIMESTAMP,
    "updated_by" text,
    "settings_updated_at" timestamp(3),
    "last_active" timestamp(3),
    "rotation_count" integer DEFAULT 0,
    "auto_rotate" boolean DEFAULT false,
    "rotation_interval" text,
    "last_rotation_at" timestamp(3),
    "key_rotation_at" timestamp(3),
    "budget_limits" jsonb
);

CREATE TABLE "LiteLLM_EndUserTable" (
    "user_id" text NOT NULL PRIMARY KEY,
    "alias" text,
    "spend" double precision NOT NULL DEFAULT 0.0,
    "allowed_model_region" text,
    "default_model" text,
    "models" text[] DEFAULT '{}',
    "budget_id" text,
    "object_permission_id" text,
    "blocked" boolean NOT NULL DEFAULT false
);

CREATE TABLE "LiteLLM_TagTable" (
    "tag_name" text NOT NULL PRIMARY KEY,
    "description" text,
    "models" text[],
    "model_info" jsonb,
    "spend" double precision NOT NULL DEFAULT 0.0,
    "budget_id" text,
    "created_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "created_by" text,
    "updated_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE "LiteLLM_BudgetWindowSpend" (
    "entity_type" text NOT NULL,
    "entity_id" text NOT NULL,
    "window_duration" text NOT NULL,
    "window_start" timestamp(3) NOT NULL,
    "spend" double precision NOT NULL DEFAULT 0.0,
    "created_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" timestamp(3) NOT NULL,
    PRIMARY KEY ("entity_type", "entity_id", "window_duration")
);

CREATE TABLE "LiteLLM_TeamMembership" (
    "user_id" text NOT NULL,
    "team_id" text NOT NULL,
    "spend" double precision NOT NULL DEFAULT 0.0,
    "total_spend" double precision NOT NULL DEFAULT 0.0,
    "budget_id" text,
    PRIMARY KEY ("user_id", "team_id")
);

CREATE TABLE "LiteLLM_OrganizationMembership" (
    "user_id" text NOT NULL,
    "organization_id" text NOT NULL,
    "user_role" text,
    "spend" double precision DEFAULT 0.0,
    "budget_id" text,
    "created_at" timestamp(3) DEFAULT CURRENT_TIMESTAMP,
    "updated_at" timestamp(3) DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY ("user_id", "organization_id")
);

CREATE TABLE "LiteLLM_ProjectTable" (
    "project_id" text NOT NULL PRIMARY KEY,
    "project_alias" text,
    "description" text,
    "team_id" text,
    "budget_id" text,
    "metadata" jsonb NOT NULL DEFAULT '{}',
    "models" text[],
    "spend" double precision NOT NULL DEFAULT 0.0,
    "model_spend" jsonb NOT NULL DEFAULT '{}',
    "model_rpm_limit" jsonb NOT NULL DEFAULT '{}',
    "model_tpm_limit" jsonb NOT NULL DEFAULT '{}',
    "blocked" boolean NOT NULL DEFAULT false,
    "object_permission_id" text,
    "created_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "created_by" text NOT NULL,
    "updated_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_by" text NOT NULL
);

CREATE TABLE "LiteLLM_ModelAccessGroupBudgetTable" (
    "access_group_name" text NOT NULL PRIMARY KEY,
    "spend" double precision NOT NULL DEFAULT 0.0,
    "budget_id" text,
    "created_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "created_by" text,
    "updated_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_by" text
);

CREATE TABLE "LiteLLM_DeprecatedVerificationToken" (
    "id" text NOT NULL PRIMARY KEY,
    "token" text NOT NULL,
    "active_token_id" text NOT NULL,
    "revoke_at" timestamp(3) NOT NULL,
    "created_at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE "LiteLLM_ObjectPermissionTable" (
    "object_permission_id" text NOT NULL PRIMARY KEY,
    "mcp_servers" text[] DEFAULT '{}',
    "mcp_access_groups" text[] DEFAULT '{}',
    "mcp_tool_permissions" jsonb,
    "vector_stores" text[] DEFAULT '{}',
    "agents" text[] DEFAULT '{}',
    "agent_access_groups" text[] DEFAULT '{}',
    "models" text[] DEFAULT '{}',
    "blocked_tools" text[] DEFAULT '{}',
    "mcp_toolsets" text[] DEFAULT '{}',
    "search_tools" text[] DEFAULT '{}',
    "mcp_tool_search_enabled" boolean,
    "skills" text[] DEFAULT '{}'
);
