from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "keys"

    def ready(self) -> None:
        from keys.kinds import register  # noqa: PLC0415 -- models can be imported from now on

        register()
