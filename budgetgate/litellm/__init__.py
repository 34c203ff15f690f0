"""Brings keys, teams, users, budgets and spends from the database of a LiteLLM proxy. Reads it, never writes it."""
