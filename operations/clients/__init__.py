"""Clients for the programs and services that commands use."""
