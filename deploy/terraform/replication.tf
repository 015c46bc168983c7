# S3 Replication, the other way to make the copy. Deletions are not replicated: what is deleted in the primary stays in the copy.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/setting-repl-config-perm-overview.html

locals {
  replicating = var.copy_by == "bucket" ? 1 : 0
}

data "aws_iam_policy_document" "replication_trust" {
  provider = aws.primary
  count    = local.replicating

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = [module.primary.arn]
    }
  }
}

data "aws_iam_policy_document" "replication" {
  provider = aws.primary
  count    = local.replicating

  statement {
    sid       = "Rule"
    actions   = ["s3:GetReplicationConfiguration", "s3:ListBucket"]
    resources = [module.primary.arn]
  }

  statement {
    sid = "Read"
    actions = [
      "s3:GetObjectVersionForReplication",
      "s3:GetObjectVersionAcl",
      "s3:GetObjectVersionTagging",
      "s3:GetObjectRetention",
      "s3:GetObjectLegalHold",
    ]
    resources = ["${module.primary.arn}/${var.prefix}/*"]
  }

  statement {
    sid       = "Copy"
    actions   = ["s3:ReplicateObject", "s3:ReplicateTags"] # and not s3:ReplicateDelete
    resources = ["${module.copy.arn}/${var.prefix}/*"]
  }
}

resource "aws_iam_role" "replication" {
  provider = aws.primary
  count    = local.replicating

  name                 = "${var.name}-replication"
  description          = "S3: copies s3://${var.primary_bucket}/${var.prefix} to ${var.copy_bucket}"
  assume_role_policy   = data.aws_iam_policy_document.replication_trust[0].json
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "replication" {
  provider = aws.primary
  count    = local.replicating

  name   = "replicate"
  role   = aws_iam_role.replication[0].id
  policy = data.aws_iam_policy_document.replication[0].json
}

resource "aws_s3_bucket_replication_configuration" "this" {
  provider   = aws.primary
  count      = local.replicating
  depends_on = [module.primary, module.copy, aws_iam_role_policy.replication]

  bucket = module.primary.bucket
  role   = aws_iam_role.replication[0].arn

  rule {
    id       = var.name
    status   = "Enabled"
    priority = 0

    filter {
      prefix = "${var.prefix}/"
    }

    delete_marker_replication {
      status = "Disabled"
    }

    destination {
      bucket = module.copy.arn

      dynamic "replication_time" {
        for_each = var.replication_time_control ? [15] : []

        content {
          status = "Enabled"

          time {
            minutes = replication_time.value
          }
        }
      }

      dynamic "metrics" {
        for_each = var.replication_time_control ? [15] : []

        content {
          status = "Enabled"

          event_threshold {
            minutes = metrics.value
          }
        }
      }
    }
  }
}
