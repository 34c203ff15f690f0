"""A scope that is never saved, for what is said of all scopes."""

from django.test.utils import isolate_apps

from budgets.models import LimitedScope

with isolate_apps("budgets"):

    class Holder(LimitedScope):
        """It has limits and nothing else."""

        class Meta:
            app_label = "budgets"
