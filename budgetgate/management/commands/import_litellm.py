"""`manage.py import_litellm`: brings what a LiteLLM proxy has. Safe to repeat."""

from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from budgetgate.litellm.config import ConfigError, import_config
from budgetgate.litellm.importer import import_database
from budgetgate.litellm.reader import Source, SourceError
from budgetgate.litellm.report import Report


class Command(BaseCommand):
    help = "Brings keys, teams, users, members, customers, tags, budgets and spends from a LiteLLM database."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--database-url", help="LiteLLM's DATABASE_URL; it is only read")
        parser.add_argument("--config", type=Path, help="LiteLLM's config.yaml, whose model_list becomes routes")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
        parser.add_argument("--update", action="store_true", help="change what is here already and differs")
        parser.add_argument("--verbose", action="store_true", help="a line for every object")

    def handle(
        self,
        *args: object,
        database_url: str | None,
        config: Path | None,
        dry_run: bool,
        update: bool,
        verbose: bool,
        **options: object,
    ) -> None:
        if not database_url and config is None:
            raise CommandError("--database-url or --config is needed")
        now = timezone.now()
        report = Report(self.stdout.write, verbose=verbose)
        try:
            if config is not None:
                import_config(config, report=report, dry_run=dry_run, now=now)
            if database_url:
                with Source(database_url) as source:
                    import_database(source, report=report, update=update, dry_run=dry_run, now=now)
        except (ConfigError, SourceError) as error:
            raise CommandError(str(error)) from None
        if dry_run:
            report.line("nothing was written: this was a dry run")
