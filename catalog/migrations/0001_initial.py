from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Route",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("model_name", models.CharField(help_text="The name that callers send as `model`.", max_length=200)),
                (
                    "provider",
                    models.CharField(
                        help_text="openai, anthropic, demo, or a name of your own for anything OpenAI-compatible.",
                        max_length=50,
                    ),
                ),
                (
                    "upstream_model",
                    models.CharField(help_text="The name that the provider gets as `model`.", max_length=200),
                ),
                (
                    "base_url",
                    models.CharField(
                        blank=True,
                        help_text="Like https://llm.example.com/v1. Empty: the address of the provider in the settings.",
                        max_length=500,
                    ),
                ),
                (
                    "api_key_env",
                    models.CharField(
                        blank=True,
                        help_text="NAME of the environment variable with the provider's key, like MISTRAL_API_KEY. Empty: the provider's key in the settings, or no key at all when a base URL is given.",
                        max_length=100,
                    ),
                ),
                (
                    "input_nanousd_per_mtok",
                    models.BigIntegerField(
                        blank=True, help_text="Per million tokens. Empty: the price list's.", null=True
                    ),
                ),
                (
                    "output_nanousd_per_mtok",
                    models.BigIntegerField(
                        blank=True,
                        help_text="Per million tokens. Given together with the input price or not at all.",
                        null=True,
                    ),
                ),
                (
                    "cache_read_nanousd_per_mtok",
                    models.BigIntegerField(
                        blank=True,
                        help_text="Per million tokens. Empty beside an input price: the input price.",
                        null=True,
                    ),
                ),
                (
                    "cache_write_nanousd_per_mtok",
                    models.BigIntegerField(
                        blank=True,
                        help_text="Per million tokens. Empty beside an input price: the input price.",
                        null=True,
                    ),
                ),
                (
                    "output_tokens_max",
                    models.IntegerField(
                        blank=True, help_text="Most tokens that one answer can have. Empty: not known.", null=True
                    ),
                ),
                (
                    "connect_timeout_s",
                    models.IntegerField(blank=True, help_text="Seconds. Empty: the setting's.", null=True),
                ),
                (
                    "read_timeout_s",
                    models.IntegerField(blank=True, help_text="Seconds. Empty: the setting's.", null=True),
                ),
                (
                    "enabled",
                    models.BooleanField(
                        default=True, help_text="Off: the name answers like a model that does not exist."
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("model_name",),
                        name="catalog_route_model_name",
                        violation_error_message="There is a route of this name already; allowed is one per name.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("input_nanousd_per_mtok__isnull", True),
                                ("input_nanousd_per_mtok__range", (0, 1000000000000000)),
                                _connector="OR",
                            ),
                            models.Q(
                                ("output_nanousd_per_mtok__isnull", True),
                                ("output_nanousd_per_mtok__range", (0, 1000000000000000)),
                                _connector="OR",
                            ),
                            models.Q(
                                ("cache_read_nanousd_per_mtok__isnull", True),
                                ("cache_read_nanousd_per_mtok__range", (0, 1000000000000000)),
                                _connector="OR",
                            ),
                            models.Q(
                                ("cache_write_nanousd_per_mtok__isnull", True),
                                ("cache_write_nanousd_per_mtok__range", (0, 1000000000000000)),
                                _connector="OR",
                            ),
                        ),
                        name="catalog_route_price_range",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("input_nanousd_per_mtok__isnull", False), ("output_nanousd_per_mtok__isnull", False)
                            ),
                            models.Q(
                                ("cache_read_nanousd_per_mtok__isnull", True),
                                ("cache_write_nanousd_per_mtok__isnull", True),
                                ("input_nanousd_per_mtok__isnull", True),
                                ("output_nanousd_per_mtok__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="catalog_route_price_pair",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("output_tokens_max__isnull", True),
                            ("output_tokens_max__range", (1, 10000000)),
                            _connector="OR",
                        ),
                        name="catalog_route_output_tokens_max",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("connect_timeout_s__isnull", True),
                                ("connect_timeout_s__range", (1, 86400)),
                                _connector="OR",
                            ),
                            models.Q(
                                ("read_timeout_s__isnull", True), ("read_timeout_s__range", (1, 86400)), _connector="OR"
                            ),
                        ),
                        name="catalog_route_timeouts",
                    ),
                ],
            },
        ),
    ]
