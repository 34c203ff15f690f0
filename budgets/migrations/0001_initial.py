

from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='WindowHistory',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope_kind', models.CharField(max_length=16)),
                ('scope_id', models.CharField(max_length=128)),
                ('identity', models.CharField(max_length=32)),
                ('budget_duration', models.CharField(max_length=16)),
                ('unit', models.CharField(max_length=16)),
                ('start_at', models.DateTimeField()),
                ('end_at', models.DateTimeField()),
                ('maximum', models.BigIntegerField()),
                ('spent', models.BigIntegerField()),
                ('closed_at', models.DateTimeField()),
                ('counter', models.CharField(max_length=512)),
                ('is_final', models.BooleanField()),
            ],
            options={
                'verbose_name_plural': 'window history',
                'indexes': [models.Index(fields=['-end_at'], name='budgets_history_recent'), models.Index(condition=models.Q(('is_final', False)), fields=['closed_at'], name='budgets_history_open')],
                'constraints': [models.UniqueConstraint(fields=('scope_kind', 'scope_id', 'identity', 'start_at'), name='budgets_history_once'), models.CheckConstraint(condition=models.Q(('end_at__gt', models.F('start_at'))), name='budgets_history_forward'), models.CheckConstraint(condition=models.Q(('maximum__gte', 0)), name='budgets_history_maximum')],
            },
        ),
    ]
